"""Every transformation of the catalogue: it applies, once, inside its file, and what comes out trains and predicts."""

from __future__ import annotations

import ast
import random
from collections import Counter
from pathlib import Path

import pytest

from specialists.proposers.catalog.transform import Refusal, Transform, Variant
from tests.specialists.catalog_tools import BENCHES, GOLF, START, Bench, applied, apply, tiny_runs

EVERY = [(bench, *pair) for bench in BENCHES.values() for pair in bench.every]
LABELS = [f"{bench.catalogue.environment}-{transform.label(variant)}" for bench, transform, variant in EVERY]
STACKS, RUN_STACKS = {"parameter_golf": 60, "nanochat_d12": 30, "cifar_airbench96": 30}, 12
OTHER_KINDS = {"muon:gentle", "grouped-query:half", "lzma:container", "length-ramp:plain", "token-cache:unigram"} | {
    "context-for-batch:shorter",
    "temperature:sharper",
}
environments = pytest.mark.parametrize("bench", BENCHES.values(), ids=BENCHES)
everything = pytest.mark.parametrize(("bench", "transform", "variant"), EVERY, ids=LABELS)


@environments
def test_every_role_of_the_paper_has_at_least_six_ideas_on_its_own_file(bench: Bench) -> None:
    counts = Counter(transform.role for transform in bench.catalogue.transforms)
    assert set(counts) == set(bench.roles)
    assert min(counts.values()) >= 6, counts
    assert all(transform.file in bench.roles[transform.role].surface for transform in bench.catalogue.transforms)


@environments
def test_names_are_unique_and_stored_labels_lead_back(bench: Bench) -> None:
    labels = [transform.label(variant) for transform, variant in bench.every]
    assert len(bench.catalogue.by_name) == len(bench.catalogue.transforms)
    assert len(set(labels)) == len(labels)
    assert [bench.catalogue.parse(label) for label in labels] == bench.every
    assert bench.catalogue.parse("no-such-idea") is None and bench.catalogue.parse("muon:unheard-of") is None


@environments
def test_hypotheses_and_sources_are_sentences(bench: Bench) -> None:
    for transform in bench.catalogue.transforms:
        assert len(transform.hypothesis) > 30 and transform.source, transform.name
        assert ";" not in transform.hypothesis or transform.name == "used-bytes", transform.name


@environments
def test_what_is_declared_to_move_a_resource_names_one_of_the_environment(bench: Bench) -> None:
    known = {resource.direction for resource in bench.catalogue.resources}
    for transform in bench.catalogue.transforms:
        moved = {name for name in ("size", "train", "evaluate", "error") if getattr(transform, name)}
        assert moved <= known, transform.name


@everything
def test_applies_once_and_says_why_not_twice(bench: Bench, transform: Transform, variant: Variant) -> None:
    before = bench.prepared(transform)
    result = apply(transform, variant, before)
    assert not isinstance(result, Refusal), result.why
    assert list(result) == [transform.file]
    compile(result[transform.file], transform.file, "exec")
    again = apply(transform, variant, before | result)
    assert isinstance(again, Refusal) and len(again.why) > 10
    assert apply(transform, variant, before) == result


@everything
def test_leaves_untouched_lines_as_they_are(bench: Bench, transform: Transform, variant: Variant) -> None:
    before = bench.prepared(transform)[transform.file].splitlines()
    after = applied(transform, variant, bench.prepared(transform))[transform.file].splitlines()
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
    for bench, transform, variant in EVERY:
        result = apply(transform, variant, bench.start | {transform.file: text})
        if isinstance(result, Refusal):
            assert result.why
        else:
            ast.parse(result[transform.file])
        assert isinstance(apply(transform, variant, {}), Refusal)


def test_a_transformation_that_trips_is_a_refusal_with_its_exception() -> None:
    def trip(edit: object, settings: object) -> None:
        raise ZeroDivisionError("no such luck")

    base = GOLF.catalogue.transforms[0]
    broken = Transform("trip", base.role, base.file, "x", base.prior, "none", "It trips", trip)
    result = broken.apply(START, Variant("standard"), random.Random(0))
    assert isinstance(result, Refusal) and result.why == "ZeroDivisionError: no such luck"


@environments
def test_stacks_of_eight_compile(bench: Bench) -> None:
    for seed in range(STACKS[bench.catalogue.environment]):
        names, files = bench.stack(seed)
        assert len(names) == 8
        assert len({name.partition(":")[0] for name in names}) >= 5
        for name, text in files.items():
            compile(text, name, "exec")


@environments
def test_every_transformation_trains_and_predicts(bench: Bench, tmp_path: Path) -> None:
    """Each idea at its dearest strength, and strengths that differ from it in more than a number, in a few steps."""
    pairs = [(t, v) for t, v in bench.every if v is t.variants[-1] or (bench is GOLF and t.label(v) in OTHER_KINDS)]
    chosen = {t.label(v): applied(t, v, bench.prepared(t)) for t, v in pairs}
    outcomes = tiny_runs(chosen, tmp_path)
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "ok"} == {}
    assert len(outcomes) == len(bench.catalogue.transforms) + (len(OTHER_KINDS) if bench is GOLF else 0)


@environments
def test_stacks_of_eight_train_and_predict(bench: Bench, tmp_path: Path) -> None:
    stacks = {str(seed): bench.stack(seed) for seed in range(RUN_STACKS)}
    outcomes = tiny_runs({seed: files for seed, (_, files) in stacks.items()}, tmp_path)
    assert {tuple(stacks[seed][0]): outcome for seed, outcome in outcomes.items() if outcome != "ok"} == {}


def test_a_broken_recipe_does_not_pass_the_tiny_run(tmp_path: Path) -> None:
    peeking = START["architecture.py"].replace("is_causal=True", "is_causal=False")
    unspelt = START["tokenizer.py"].replace("return WORD.findall(text)", "return WORD.findall(text)[1:]")
    unloaded = START["quantization.py"].replace("at += values.nbytes", "at += 0")
    assert peeking != START["architecture.py"] and unloaded != START["quantization.py"]
    lively = GOLF.transform("live-projections")
    live = applied(lively, lively.variants[0], START)
    broken = {
        "peeks": live | {"architecture.py": live["architecture.py"].replace("is_causal=True", "is_causal=False")},
        "misspells": START | {"tokenizer.py": unspelt},
        "starts": START,
    }
    outcomes = tiny_runs(broken, tmp_path)
    assert "move with the future" in outcomes["peeks"]
    assert "do not spell" in outcomes["misspells"]
    assert outcomes["starts"] == "ok"


@environments
def test_the_tables_of_the_documentation_are_complete(bench: Bench) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/catalog.md").read_text()
    own = page.partition(f"<!-- {bench.catalogue.environment} -->")[2].partition("<!-- end -->")[0]
    rows = {line.split("|")[1].strip(): line for line in own.splitlines() if line.startswith("| `")}
    assert set(rows) == {f"`{transform.name}`" for transform in bench.catalogue.transforms}
    for transform in bench.catalogue.transforms:
        line = rows[f"`{transform.name}`"]
        assert f"| {transform.prior.name.lower()} |" in line and transform.source in line and transform.idea in line
