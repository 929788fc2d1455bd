"""The environment that docs/environments.md walks through, from its own folder to a label, in real sandboxes."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import call_command

from evaluators.contract import Cancelled, Environment, Measurement, Progress
from evaluators.preflight import read_recipe
from evaluators.registry import ENVIRONMENTS, register
from trials.vocab import VALID, Label

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture
def tabular(monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """The example, registered as docs/environments.md says."""
    monkeypatch.syspath_prepend(EXAMPLES)
    environment: Environment = importlib.import_module("tabular.environment").Tabular()
    register(environment)
    yield environment
    del ENVIRONMENTS[environment.spec.name]


def measured(environment: Environment, **edits: tuple[str, str]) -> Measurement:
    """The start with (old, new) replaced in files, which are named without their ending."""
    source = read_recipe(environment.spec)
    for name, (old, new) in edits.items():
        text = source[f"{name}.py"].decode()
        assert text.count(old) == 1
        source[f"{name}.py"] = text.replace(old, new).encode()
    return environment.measure(
        source,
        profile=environment.spec.profiles["cpu"],
        seed=0,
        split="validation",
        level="L3",
        report=lambda progress: None,
    )


def test_the_example_is_measured_by_the_command(tabular: Environment) -> None:
    out = io.StringIO()
    call_command("evaluate", "tabular", str(EXAMPLES / "tabular" / "recipe"), "--json", stdout=out)
    report = json.loads(out.getvalue())
    assert (report["label"], report["score_source"], report["artifact_bytes"]) == (VALID, "evaluator", 28)
    assert 1.0 < report["score"] < 1.5
    assert set(report["timings"]["seconds"]) == {"train", "predict"}
    assert report["measurements"][0]["evaluator_sha256"]
    with pytest.raises(ValueError, match="the name 'tabular' is taken"):
        register(tabular)


def test_a_better_recipe_scores_better_and_a_lying_one_does_not(tabular: Environment) -> None:
    start = measured(tabular)
    assert start.score is not None
    columns = "[np.ones((len(rows), 1)), rows]"
    more = "[np.ones((len(rows), 1)), rows, np.sin(2 * rows[:, :1]), rows[:, 1:2] * rows[:, 2:3]]"
    better = measured(tabular, features=(columns, more))
    assert better.score is not None and 0.09 < better.score < 0.12
    printed = measured(tabular, model=("    return np", "    print('rmse: 0.0', flush=True)\n    return np"))
    assert (printed.score, printed.log) == (start.score, b"rmse: 0.0\n")


def test_the_process_that_predicts_knows_the_artifact_alone(tabular: Environment) -> None:
    remember = "    open('/tmp/targets', 'wb').write(ctx.targets)\n    return model.fit"
    assert measured(tabular, recipe=("    return model.fit", remember)).status == Label.CRASH
    kept = "    model.KEPT = ctx.targets\n    return model.fit"
    asked = measured(
        tabular,
        recipe=("    return model.fit", kept),
        features=("    return np", "    import model; model.KEPT\n    return np"),
    )
    assert asked.reason == "AttributeError: module 'model' has no attribute 'KEPT'"


@pytest.mark.parametrize(
    ("file", "old", "new", "label", "reason"),
    [
        ("recipe", '"<f4").tobytes()', '"<f4").tobytes() + bytes(229)', Label.SIZE_BLOCKED, "1 bytes over"),
        (
            "recipe",
            "return features.of(rows) @",
            "return np.nan * features.of(rows) @",
            Label.INVALID_RESULT,
            "1600 bytes",
        ),
        ("recipe", "return features.of(rows) @", "return features.of(rows)[1:] @", Label.INVALID_RESULT, "1596 bytes"),
        ("recipe", "import features", "import feature", Label.PREFLIGHT_CRASH, "ModuleNotFoundError: "),
        ("model", "    return np", "    raise SystemExit(0)\n    return np", Label.CRASH, "SystemExit: 0"),
        ("model", "    return np", "    __import__('os')._exit(0)\n    return np", Label.CRASH, "the process exited"),
    ],
)
def test_ends_get_their_labels(tabular: Environment, file: str, old: str, new: str, label: Label, reason: str) -> None:
    outcome = tabular.judge(measured(tabular, **{file: (old, new)}), tabular.spec.profiles["cpu"])
    assert (outcome.label, outcome.score) == (label, None)
    assert outcome.reason.startswith(reason)


def test_a_recipe_that_waits_ends_with_its_budget_and_a_cancelled_one_at_once(tabular: Environment) -> None:
    source = read_recipe(tabular.spec)
    source["model.py"] = b"import time; time.sleep(3600)"
    profile = tabular.spec.profiles["cpu"]
    short = replace(profile, limits=replace(profile.limits, train_seconds=1.0))

    def ignore(progress: Progress) -> None:
        assert 0.0 <= progress.fraction <= 1.0

    found = tabular.measure(source, profile=short, seed=0, split="validation", level="L3", report=ignore)
    assert found.status == Label.TRAIN_BUDGET_OVERRUN and float(found.numbers["seconds_over"]) >= 0

    def cancel(progress: Progress) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        tabular.measure(source, profile=profile, seed=0, split="validation", level="L3", report=cancel)


def test_a_score_that_nobody_can_have_is_not_believed(tabular: Environment) -> None:
    found = Measurement("ok", "", 0, "validation", score=0.01)
    assert tabular.judge(found, tabular.spec.profiles["cpu"]).label == Label.INVALID_RESULT


def test_the_environments_side_stays_under_150_lines() -> None:
    files = (EXAMPLES / "tabular" / "environment.py", EXAMPLES / "tabular" / "child" / "__main__.py")
    assert sum(len(file.read_text().splitlines()) for file in files) < 150
