"""Exactly at a limit, and just beyond it: the label and every figure, through whole measurements and the command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from evaluators.contract import Measurement, Profile
from evaluators.environments.cifar_airbench96 import data
from evaluators.harness.order import count_code
from tests.evaluators import airbench, golf
from tests.evaluators.boundary import airbench_answering, golf_spending
from tests.evaluators.commands import manage
from trials.vocab import VALID, Label

BUDGET = 100_000_000


def golf_measured(source: Mapping[str, bytes], profile: Profile) -> Measurement:
    """A measurement whose judge says the same as its status."""
    found = golf.measured(source, profile)
    verdict = golf.GOLF.judge(found, profile)
    assert (verdict.label, verdict.reason) == (VALID if found.status == "ok" else found.status, found.reason)
    return found


def written(folder: Path, source: Mapping[str, bytes]) -> Path:
    for name, body in source.items():
        (folder / name).write_bytes(body)
    return folder


def weighing(total: int, **spending: tuple[int, int]) -> dict[str, bytes]:
    """A golf recipe whose packed files and artifact have ``total`` bytes together."""
    payload = total
    while (size := payload + count_code(source := golf_spending(artifact=payload, **spending))) != total:
        payload += total - size
    return source


@pytest.mark.parametrize(
    ("permille", "more", "spent"),
    [(1050, 0, 105_000_000), (1050, 20, 105_000_020), (1100, 0, 110_000_000)],
    ids=["at the tolerance", "just beyond", "a tenth over"],
)
def test_units_to_the_unit(permille: int, more: int, spent: int) -> None:
    profile = golf.limited(train_units=BUDGET, eval_units=BUDGET)
    trained = golf_measured(golf_spending(train=(permille, more)), profile)
    evaluated = golf_measured(golf_spending(evaluation=(permille, more)), profile)
    if spent <= 105_000_000:
        assert (trained.status, trained.train_units, trained.eval_units, trained.score) == ("ok", spent, 0, 8.0)
        assert (evaluated.status, evaluated.train_units, evaluated.eval_units) == ("ok", 0, spent)
        return
    assert (trained.status, evaluated.status) == (Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN)
    for found, phase in ((trained, "train"), (evaluated, "predict")):
        told = {name: found.numbers[name] for name in ("units", "units_over", "phase")}
        assert told == {"units": spent, "units_over": spent - BUDGET, "phase": phase}
        assert found.reason == f"{spent:,} units of 100,000,000 when it was stopped, {spent - BUDGET:,} over"


def test_accuracy_to_the_image() -> None:
    labels = data.load().part("validation", 1000).labels
    right = int((labels == 3).sum())
    for more, label in ((0, VALID), (1, Label.DISQUALIFIED)):
        profile = airbench.ruled(gate=(right + more) / 1000)
        found = airbench.measured(airbench_answering(3), profile)
        verdict = airbench.AIRBENCH.judge(found, profile)
        assert (found.numbers["correct"], verdict.label) == (right, label), found.excerpt
        assert found.numbers.get("deficit", 0) == more / 1000
        if more:
            assert verdict.reason == f"0.00100 below the gate of {(right + 1) / 1000:g}"


def test_the_command_at_cap_and_tolerance_and_beyond(tmp_path: Path) -> None:
    cap, units = golf.SMOKE.limits.artifact_bytes, golf.SMOKE.limits.train_units
    assert cap is not None and units is not None

    def judged(source: dict[str, bytes]) -> dict[str, object]:
        done = manage("evaluate", "parameter_golf", written(tmp_path, source), "--profile", "smoke", "--json")
        assert done.status == 0, done.err
        return done.json

    full = judged(weighing(cap, train=(1050, 0)))
    assert (full["label"], full["artifact_bytes"], full["score"]) == (VALID, cap, 8.0)
    assert full["measurements"][0]["train_units"] == units * 105 // 100  # type: ignore[index]
    heavy = judged(weighing(cap + 1))
    assert (heavy["label"], heavy["reason"]) == (Label.SIZE_BLOCKED, "1 bytes over")
    assert heavy["numbers"]["bytes_over"] == 1  # type: ignore[index]
    long = judged(golf_spending(train=(1100, 0)))
    assert long["label"] == Label.TRAIN_BUDGET_OVERRUN
    assert long["numbers"]["units_over"] == units // 10  # type: ignore[index]


def test_the_command_below_the_gate(tmp_path: Path) -> None:
    right = int((data.load().part("validation", 1000).labels == 3).sum())
    folder = written(tmp_path, airbench_answering(3))
    done = manage("evaluate", "cifar_airbench96", folder, "--profile", "smoke", "--json")
    assert done.status == 0, done.err
    assert done.json["label"] == Label.DISQUALIFIED
    assert done.json["numbers"]["deficit"] == round(0.5 - right / 1000, 6)
    assert done.json["reason"] == f"{0.5 - right / 1000:.5f} below the gate of 0.5"
