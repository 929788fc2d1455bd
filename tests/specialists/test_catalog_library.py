"""Every transformation of the catalogue: it applies, once, inside its file, and what comes out trains and predicts."""

from __future__ import annotations

import ast
import random
from collections import Counter
from pathlib import Path

import pytest

from specialists.proposers.catalog.library import BY_NAME, TRANSFORMS, parse_label
from specialists.proposers.catalog.transform import Refusal, Transform, Variant
from tests.specialists.catalog_tools import EVERY, ROLES, START, applied, apply, prepared, stack, tiny_runs

LABELS = [transform.label(variant) for transform, variant in EVERY]
STACKS, RUN_STACKS = 60, 12
OTHER_KINDS = {"muon:gentle", "grouped-query:half", "lzma:container", "length-ramp:plain", "token-cache:unigram"} | {
    "context-for-batch:shorter",
    "temperature:sharper",
}


def test_every_role_of_the_paper_has_at_least_six_ideas_on_its_own_file() -> None:
    counts = Counter(transform.role for transform in TRANSFORMS)
    assert set(counts) == set(ROLES)
    assert min(counts.values()) >= 6, counts
    assert all(transform.file in ROLES[transform.role].surface for transform in TRANSFORMS)


def test_names_are_unique_and_stored_labels_lead_back() -> None:
    assert len(BY_NAME) == len(TRANSFORMS)
    assert len(set(LABELS)) == len(LABELS)
    assert [parse_label(label) for label in LABELS] == EVERY
    assert parse_label("no-such-idea") is None and parse_label("muon:unheard-of") is None


def test_hypotheses_and_sources_are_sentences() -> None:
    for transform in TRANSFORMS:
        assert len(transform.hypothesis) > 30 and transform.source, transform.name
        assert ";" not in transform.hypothesis or transform.name == "used-bytes", transform.name


@pytest.mark.parametrize(("transform", "variant"), EVERY, ids=LABELS)
def test_applies_once_and_says_why_not_twice(transform: Transform, variant: Variant) -> None:
    before = prepared(transform)
    result = apply(transform, variant, before)
    assert not isinstance(result, Refusal), result.why
    assert list(result) == [transform.file]
    compile(result[transform.file], transform.file, "exec")
    again = apply(transform, variant, before | result)
    assert isinstance(again, Refusal) and len(again.why) > 10
    assert apply(transform, variant, before) == result


@pytest.mark.parametrize(("transform", "variant"), EVERY, ids=LABELS)
def test_leaves_untouched_lines_as_they_are(transform: Transform, variant: Variant) -> None:
    before = prepared(transform)[transform.file].splitlines()
    after = applied(transform, variant, prepared(transform))[transform.file].splitlines()
    gone = Counter(before) - Counter(after)
    assert sum(gone.values()) <= max(12, len(before) // 4), gone
    assert all(line == line.rstrip() for line in after)


HOSTILE = {
    "nothing": "",
    "no python": "def (:\n",
    "null bytes": "x = 1\x00",
    "deep": "x = " + "(" * 150 + ")" * 150 + "\n",
    "deep attributes": "x = a" + ".b" * 3000 + "\n",
    "huge": "x = 1\n" * 60_000,
    "one-liners": "class Averaging: pass\nclass Attention: pass\ndef step(*a): return 1\ndef drop(x, t): return x\n",
    "wrong shapes": "BITS = [8]\nBETAS = 3\nLAYERS = 'two'\nWIDTH = True\nLEARNING_RATE = f()\nSTRIDE, WINDOW = 1, 2\n",
    "same names": "def learn(): ...\nclass learn: ...\nmake_adapter = lambda model: None\nschedule = 0\nWORD = 'x'\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_odd_descendants_are_refused_and_never_raise(text: str) -> None:
    for transform, variant in EVERY:
        result = apply(transform, variant, START | {transform.file: text})
        if isinstance(result, Refusal):
            assert result.why
        else:
            ast.parse(result[transform.file])
        assert isinstance(apply(transform, variant, {}), Refusal)


def test_a_transformation_that_trips_is_a_refusal_with_its_exception() -> None:
    def trip(edit: object, settings: object) -> None:
        raise ZeroDivisionError("no such luck")

    base = TRANSFORMS[0]
    broken = Transform("trip", base.role, base.file, "x", base.prior, "none", "It trips", trip)
    result = broken.apply(START, Variant("standard"), random.Random(0))
    assert isinstance(result, Refusal) and result.why == "ZeroDivisionError: no such luck"


@pytest.mark.parametrize("seed", range(STACKS))
def test_stacks_of_eight_compile(seed: int) -> None:
    names, files = stack(seed)
    assert len(names) == 8
    assert len({name.partition(":")[0] for name in names}) >= 5
    for name, text in files.items():
        compile(text, name, "exec")


def test_every_transformation_trains_loads_spells_and_predicts(tmp_path: Path) -> None:
    """Each idea at its dearest strength, and strengths that differ from it in more than a number, in two steps."""
    pairs = [(t, v) for t, v in EVERY if v is t.variants[-1] or t.label(v) in OTHER_KINDS]
    chosen = {t.label(v): applied(t, v, prepared(t)) for t, v in pairs}
    outcomes = tiny_runs(chosen, tmp_path)
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "ok"} == {}
    assert len(outcomes) == len(TRANSFORMS) + len(OTHER_KINDS)


def test_stacks_of_eight_train_load_spell_and_predict(tmp_path: Path) -> None:
    stacks = {str(seed): stack(seed) for seed in range(RUN_STACKS)}
    outcomes = tiny_runs({seed: files for seed, (_, files) in stacks.items()}, tmp_path)
    assert {tuple(stacks[seed][0]): outcome for seed, outcome in outcomes.items() if outcome != "ok"} == {}


def test_a_broken_recipe_does_not_pass_the_tiny_run(tmp_path: Path) -> None:
    peeking = START["architecture.py"].replace("is_causal=True", "is_causal=False")
    unspelt = START["tokenizer.py"].replace("return WORD.findall(text)", "return WORD.findall(text)[1:]")
    unloaded = START["quantization.py"].replace("at += values.nbytes", "at += 0")
    assert peeking != START["architecture.py"] and unloaded != START["quantization.py"]
    live = applied(BY_NAME["live-projections"], BY_NAME["live-projections"].variants[0], START)
    broken = {
        "peeks": live | {"architecture.py": live["architecture.py"].replace("is_causal=True", "is_causal=False")},
        "misspells": START | {"tokenizer.py": unspelt},
        "starts": START,
    }
    outcomes = tiny_runs(broken, tmp_path)
    assert "move with the future" in outcomes["peeks"]
    assert "do not spell" in outcomes["misspells"]
    assert outcomes["starts"] == "ok"


def test_the_table_of_the_documentation_is_complete() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/catalog.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == {f"`{transform.name}`" for transform in TRANSFORMS}
    for transform in TRANSFORMS:
        line = rows[f"`{transform.name}`"]
        assert f"| {transform.prior.name.lower()} |" in line and transform.source in line and transform.idea in line
