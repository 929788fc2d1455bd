"""Diversity against scikit-learn and a plain reading of the definition; edits and repair chains by example."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

from trials import diversity
from trials.edits import EditKind, kind_of
from trials.repairs import Attempt, chains
from trials.stop_words import ENGLISH

DATA = Path(__file__).resolve().parents[1] / "data" / "traces"
PATTERN = r"[a-zA-Z][a-zA-Z0-9_+-]+"


def hypotheses(name: str) -> list[str]:
    with (DATA / name / "results.tsv").open(newline="") as stream:
        return [row["hypothesis"] for row in csv.DictReader(stream, delimiter="\t") if row["status"] != "baseline"]


def made_up(count: int) -> list[str]:
    """Texts from the published words, with repeats, near-repeats, empty ones and stray tags."""
    words = sorted({word for text in hypotheses("pg_lineage_on") for word in text.split()})
    choose = random.Random(0)
    texts = ["", "the and of", "test", "test", "TEST </hypothesis> the rest is not read"]
    for _ in range(count):
        if choose.random() < 0.3:
            kept = [word for word in choose.choice(texts).split() if choose.random() < 0.9]
            texts.append(" ".join([*kept, choose.choice(words)]))
        else:
            texts.append(" ".join(choose.choices(words, k=choose.randrange(3, 30))))
    return texts


def by_the_book(texts: list[str], fitted_on: list[str]) -> tuple[list[int], int]:
    """Cluster sizes and near-repeats with scikit-learn's dense vectors and the definition read word by word."""
    cut = [text.split("</hypothesis>")[0] for text in texts]
    model = TfidfVectorizer(lowercase=True, token_pattern=PATTERN, stop_words="english", sublinear_tf=True)
    rows = model.fit([text.split("</hypothesis>")[0] for text in fitted_on]).transform(cut).toarray()
    means: list[np.ndarray] = []
    sizes: list[int] = []
    repeats = 0
    for index, row in enumerate(rows):
        repeats += bool(index) and float((rows[:index] @ row).max()) >= 0.7 - 1e-9
        cosines = [float(row @ mean) / (float(np.linalg.norm(mean)) or 1.0) for mean in means]
        best = int(np.argmax(cosines)) if cosines else -1
        if best >= 0 and cosines[best] >= 0.3 - 1e-9 and row.any():
            sizes[best] += 1
            means[best] = means[best] + (row - means[best]) / sizes[best]
        else:
            means.append(row.copy())
            sizes.append(1)
    return sizes, repeats


def test_the_stop_words_are_scikit_learns() -> None:
    assert ENGLISH == ENGLISH_STOP_WORDS
    assert len(ENGLISH) == 318


def test_vectors_are_scikit_learns() -> None:
    texts = hypotheses("cifar_airbench96")
    model = TfidfVectorizer(lowercase=True, token_pattern=PATTERN, stop_words="english", sublinear_tf=True)
    expected = model.fit_transform(texts).toarray()
    names = model.get_feature_names_out()
    counted = [diversity.Counter(diversity.tokens(text)) for text in texts]
    weights = diversity.inverse_frequencies(counted)
    for words, row in zip(counted, expected, strict=True):
        found = dict(diversity.vector(words, weights))
        assert found == pytest.approx({names[place]: row[place] for place in np.flatnonzero(row)}, abs=1e-12)


@pytest.mark.parametrize("name", ["cifar_airbench96", "pg_lineage_on", "made up"])
def test_clusters_and_repeats_are_those_of_the_definition(name: str) -> None:
    texts = made_up(400) if name == "made up" else hypotheses(name)
    sizes, repeats = by_the_book(texts, texts)
    found = diversity.measure(texts)
    shares = [size / len(texts) for size in sizes]
    assert (found.proposals, found.clusters, found.largest_share) == (len(texts), len(sizes), max(shares))
    assert found.effective_clusters == pytest.approx(math.exp(-sum(share * math.log(share) for share in shares)))
    assert found.near_duplicate_rate == pytest.approx(repeats / (len(texts) - 1))


def test_campaigns_side_by_side_share_their_frequencies() -> None:
    one, two = hypotheses("cifar_airbench96"), hypotheses("pg_lineage_on")
    together = diversity.compare([one, two])
    for texts, found in zip((one, two), together, strict=True):
        sizes, repeats = by_the_book(texts, one + two)
        assert (found.clusters, round((found.near_duplicate_rate or 0) * (len(texts) - 1))) == (len(sizes), repeats)
    assert together[0].effective_clusters != diversity.measure(one).effective_clusters


def test_the_published_figures() -> None:
    cifar, golf = diversity.measure(hypotheses("cifar_airbench96")), diversity.measure(hypotheses("pg_lineage_on"))
    for found, clusters, largest, repeats in ((cifar, "51.5", "6.2", "2.1"), (golf, "120.9", "4.0", "1.5")):
        assert f"{found.effective_clusters:.1f}" == clusters
        assert (f"{100 * (found.largest_share or 0):.1f}", f"{100 * (found.near_duplicate_rate or 0):.1f}") == (
            largest,
            repeats,
        )


def test_nothing_and_one_are_measured_honestly() -> None:
    assert diversity.measure([]) == diversity.Diversity(0, 0, None, None, None)
    assert diversity.measure(["a single wider idea"]) == diversity.Diversity(1, 1, 1.0, 1.0, None)


EDITS: dict[str, tuple[str, str, EditKind]] = {
    "a number": ("x = 4", "x = 8.5", EditKind.KNOB),
    "a sign": ("x = 4", "x = -4", EditKind.KNOB),
    "a name in quotes": ("f('gelu')", "f('silu')", EditKind.KNOB),
    "a longer list": ("betas = (0.9, 0.95)", "betas = (0.9, 0.95, 0.1)", EditKind.KNOB),
    "a table of numbers": ("t = {'a': 1}", "t = {'a': 2, 'b': [3]}", EditKind.KNOB),
    "a comment": ("x = 4  # old", "x = 4\n# new\n", EditKind.SAME),
    "a docstring": ('def f():\n    "old"\n    return 1', 'def f():\n    "new"\n    return 1', EditKind.SAME),
    "an operator": ("x = a + 4", "x = a * 4", EditKind.PROGRAM),
    "a name": ("x = a", "x = b", EditKind.PROGRAM),
    "a statement": ("x = 4", "x = 4\ny = 5", EditKind.PROGRAM),
    "a knob and a statement": ("x = 4", "x = 5\ny = 5", EditKind.PROGRAM),
    "a literal for an expression": ("x = 4", "x = a", EditKind.PROGRAM),
    "what does not parse": ("x = 4", "x = (", EditKind.PROGRAM),
}


@pytest.mark.parametrize("case", EDITS)
def test_kinds_of_edits(case: str) -> None:
    before, after, expected = EDITS[case]
    same = {"other.py": b"y = 1"}
    assert kind_of({"a.py": before.encode()} | same, {"a.py": after.encode()} | same) is expected


def test_edits_of_several_files() -> None:
    before = {"a.py": b"x = 1", "b.py": b"y = 1", "notes.txt": b"1"}
    assert kind_of(before, before) is EditKind.SAME
    assert kind_of(before, before | {"a.py": b"x = 2", "b.py": b"y = 2"}) is EditKind.KNOB
    assert kind_of(before, before | {"a.py": b"x = 2", "b.py": b"z = 1"}) is EditKind.PROGRAM
    assert kind_of(before, before | {"notes.txt": b"2"}) is EditKind.PROGRAM
    assert kind_of(before, before | {"c.py": b""}) is EditKind.PROGRAM
    assert kind_of({"a.py": b"x = " + b"(" * 9000}, {"a.py": b"x = 1"}) is EditKind.PROGRAM


def test_repair_chains() -> None:
    found = chains(
        [
            Attempt(1, "size_blocked", 0, "A z-loss"),
            Attempt(2, "eval_budget_overrun", 1, "A smaller z-loss"),
            Attempt(3, "keep", 2, "A z-loss at last"),
            Attempt(4, "discard", 0, "As exp_001 and trial 2, without either"),
            Attempt(5, "keep", 0, "A repair", repairs=2),
            Attempt(6, "crash", 2, "Not valid"),
            Attempt(7, "keep", 6, "A crash is no boundary; exp_009 comes later, exp_7 is itself, exp_404 is not there"),
            Attempt(9, "disqualified", 0, ""),
        ]
    )
    assert [(list(chain.failures), chain.mended_by, chain.label, chain.by) for chain in found] == [
        ([1, 2], 3, "keep", "parent"),
        ([1], 4, "discard", "named"),
        ([1, 2], 4, "discard", "named"),
        ([1, 2], 5, "keep", "repairs"),
    ]
