"""Airbench's images, the arithmetic of its score, its pure judge, and how a process's answers are read."""

from __future__ import annotations

import lzma
import math
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evaluators.child.frames import Kind
from evaluators.contract import Measurement
from evaluators.environments.cifar_airbench96 import CifarAirbench96, data
from evaluators.harness.cold_process import pack_images, unpack_predictions
from evaluators.harness.gate import Rules, score
from evaluators.harness.verdicts import Verdict, of_wire
from evaluators.harness.wire import Spent, TooLong
from trials.vocab import VALID, Label

AIRBENCH = CifarAirbench96()
CPU = AIRBENCH.spec.profiles["cpu"]
RULES = Rules.of(CPU)
GOOD = Measurement(
    "ok",
    "",
    0,
    "validation",
    score=6.0,
    numbers={"correct": 17_300, "scored": 20_000},
    cpu_seconds={"start": 30.0} | {f"seed_{seed}": 6.0 for seed in range(5)},
)


def test_the_images_are_what_was_recorded_and_balanced() -> None:
    corpus = data.load()
    assert corpus.sha256 == data.EXPECTED
    for split, count in data.SIZES.items():
        part = corpus.part(split)
        assert part.images.shape == (count, 14, 14, 1) and part.images.dtype == np.uint8
        assert part.labels.dtype == np.int64
        assert np.bincount(part.labels).tolist() == [count // 10] * 10
    assert data.shared(corpus, "validation") == data.shared(corpus, "sealed") == 0
    first = corpus.part("validation", 1000)
    assert len(first.labels) == 1000 and np.bincount(first.labels).min() > 70
    with pytest.raises(LookupError, match="expected one of train, validation, sealed"):
        corpus.part("test")


def test_images_that_are_missing_or_changed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match="cannot be read"):
        data.load(tmp_path / "away.xz")
    raw = bytearray(lzma.decompress(data.FILE.read_bytes()))
    raw[-1] ^= 1
    changed = tmp_path / "changed.xz"
    changed.write_bytes(lzma.compress(bytes(raw), preset=0))
    with pytest.raises(data.DataError, match="the sealed images"):
        data.load(changed)
    changed.write_bytes(lzma.compress(bytes(raw[:-1]), preset=0))
    with pytest.raises(data.DataError, match="holds 3939999 bytes, expected 3940000"):
        data.load(changed)


def test_prepare_tells_what_is_there() -> None:
    found = AIRBENCH.prepare(CPU)
    assert (found["ready"], found["missing"]) == (True, [])
    assert found["used"] == {"train": 12_000, "validation": 4_000, "sealed": 4_000}
    assert found["shared_with_train"] == {"validation": 0, "sealed": 0}


def test_the_gate_is_exact() -> None:
    assert RULES.gate == Fraction(865, 1000)
    assert RULES.shortfall(17_300, 20_000) == 0
    reason, numbers = RULES.missed(17_280, 20_000)
    assert reason == "0.00100 below the gate of 0.865"
    assert numbers == {"accuracy": 0.864, "gate": 0.865, "deficit": 0.001}


@pytest.mark.parametrize(("correct", "done", "reachable"), [(1_300, 1, True), (1_299, 1, False), (17_300, 5, True)])
def test_a_trial_goes_on_only_while_the_gate_can_be_reached(correct: int, done: int, reachable: bool) -> None:
    assert RULES.in_reach(correct, done, 4_000) is reachable


def test_the_score_is_the_mean_ratio_to_the_reference() -> None:
    found = score([6.0, 8.0], [2.0, 4.0], 3.0)
    assert (found.seconds, found.smallest, found.error) == (7.5, 6.0, pytest.approx(1.5))
    assert score([6.0], [3.0], 2.0).error == 0.0
    with pytest.raises(ValueError, match="took no time"):
        score([6.0], [0.0], 2.0)


def test_the_judge_applies_gate_and_limits_again() -> None:
    assert AIRBENCH.judge(GOOD, CPU).label == VALID
    below = AIRBENCH.judge(replace(GOOD, numbers={"correct": 17_299, "scored": 20_000}), CPU)
    assert (below.label, below.score, below.reason) == (Label.DISQUALIFIED, None, "0.00005 below the gate of 0.865")
    assert below.numbers["deficit"] == 0.00005
    spent = dict(GOOD.cpu_seconds) | {"seed_4": 60.5}
    over = AIRBENCH.judge(replace(GOOD, cpu_seconds=spent), CPU)
    assert (over.label, over.numbers["cpu_seconds_over"]) == (Label.TRAIN_BUDGET_OVERRUN, 0.5)
    for wrong in (
        {"cpu_seconds": {"seed_0": 6.0}},
        {"numbers": {}},
        {"score": math.nan},
        {"score": None},
        {"score": 0.01},
    ):
        assert AIRBENCH.judge(replace(GOOD, **wrong), CPU).label == Label.INVALID_RESULT
    with pytest.raises(ValueError, match="unknown"):
        AIRBENCH.judge(replace(GOOD, status="keep"), CPU)
    failed = replace(GOOD, status=Label.DISQUALIFIED, reason="why", numbers={"deficit": 0.1})
    assert AIRBENCH.judge(failed, CPU).numbers == {"deficit": 0.1}


def test_predictions_of_another_shape_or_not_finite_are_refused() -> None:
    good = struct.pack("<2I", 2, 3) + np.arange(6, dtype="<f4").tobytes()
    assert unpack_predictions(good, 2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    infinite = good[:-4] + struct.pack("<f", math.inf)
    for raw in (b"", good[:-1], struct.pack("<2I", 3, 2) + good[8:], infinite):
        with pytest.raises(Verdict) as refused:
            unpack_predictions(raw, 2, 3)
        assert refused.value.status == Label.INVALID_RESULT


def test_images_travel_with_their_shape() -> None:
    packed = pack_images(np.zeros((2, 14, 14, 1), np.uint8))
    assert (struct.unpack_from("<4I", packed), len(packed)) == ((2, 14, 14, 1), 16 + 392)


def test_cpu_time_that_is_used_up_and_too_many_predictions_have_their_labels() -> None:
    spent = of_wire(Spent(41.5, 40.0), "train", None)
    assert (spent.status, spent.numbers) == (
        Label.TRAIN_BUDGET_OVERRUN,
        {"cpu_seconds": 41.5, "cpu_seconds_over": 1.5},
    )
    assert of_wire(Spent(21.0, 20.0), "predict", None).status == Label.EVAL_BUDGET_OVERRUN
    assert of_wire(TooLong(Kind.PREDICTIONS, 12, 10), "predict", None).status == Label.INVALID_RESULT
