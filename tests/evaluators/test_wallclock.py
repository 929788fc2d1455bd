"""Profiles whose budget is wall clock on a device, their data on disk and their scores computed on the device.

Run end to end on CPU tensors: the same code, with ``cpu`` for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluators.contract import Measurement, Profile
from evaluators.environments.parameter_golf import data
from evaluators.harness import language_model, scoring, shelf
from evaluators.harness.device_scorer import DeviceScorer
from evaluators.harness.order import Order
from evaluators.sandbox import reach
from tests.evaluators import core, golf
from trials.vocab import VALID, Label

DRAW = np.random.default_rng(0)
HELD_OUT = (b"To-morrow, and to-morrow, and to-morrow, " * 20, b"Creeps in this petty pace from day to day. " * 20)


def timed(train_seconds: float, eval_seconds: float = 30.0, **settings: object) -> Profile:
    """The smoke profile of golf with wall clock for its budget."""
    limits = replace(
        golf.SMOKE.limits,
        train_units=None,
        eval_units=None,
        wallclock=True,
        train_seconds=train_seconds,
        eval_seconds=eval_seconds,
    )
    chosen = {**golf.SMOKE.settings, "projection_seconds": 0.3, "scorer_threads": 1, **settings}
    return replace(golf.SMOKE, limits=limits, settings=chosen)


#: Stops at a twelfth of its seconds, so that a busy machine is no overrun.
HASTY = golf.edited(("hyperparameters.py", "TRAIN_SHARE: float = 1.0", "TRAIN_SHARE: float = 0.08"))


def measured(source: dict[str, bytes], profile: Profile, train: tuple[bytes, ...] | shelf.Shelf) -> Measurement:
    order = Order(
        profile=profile,
        source=source,
        seed=0,
        split="validation",
        isolation=reach("L3", start="warm"),
        report=lambda _: None,
        train=train,
        data_sha256={},
        evaluator_sha256="",
    )
    return language_model.measure(order, HELD_OUT)


@pytest.fixture
def on_disk(tmp_path: Path) -> shelf.Shelf:
    """Three plays as shards of bytes; a token beyond them stands in front of each."""
    texts = list(data.load().train.values())[:3]
    paths = [tmp_path / f"train_{number}.bin" for number in range(2)]
    for path, chosen in zip(paths, (texts[:2], texts[2:]), strict=True):
        shelf.write_shard(path, [token for text in chosen for token in (256, *text)])
    shelf.index(paths, 256, 257, tmp_path / "index", lambda _: None)
    vocabulary = (*(bytes([value]) for value in range(256)), b"")
    return shelf.Shelf(shelf.shards_of(paths, tmp_path / "index", "prepare"), vocabulary, 256, strip=False)


def test_a_recipe_trains_on_shards_for_the_milliseconds_that_it_may(on_disk: shelf.Shelf) -> None:
    found = measured(HASTY, timed(30.0), on_disk)
    assert (found.status, found.reason) == ("ok", "")
    assert found.score is not None
    assert 2.0 < found.score < 6.0
    assert (found.train_units, found.eval_units) == (None, None)
    assert 2.0 < found.seconds["train"] <= 30.0 * 1.05
    assert "reference_seconds_per_gigaunit" not in found.numbers
    assert golf.GOLF.judge(found, timed(30.0)).label == VALID


def test_chunks_are_fitted_to_their_rows_and_to_the_room_for_logits(on_disk: shelf.Shelf) -> None:
    few = timed(30.0, rows=2, chunk_bytes=4 * 512 * 512, probed_share=0.4)
    found = measured(HASTY, few, on_disk)
    assert (found.status, found.numbers["largest_move"]) == ("ok", 0.0)


SLEEPER = ("recipe.py", "    torch.manual_seed(ctx.seed)\n    words", "    import time; time.sleep({})\n    words")


def sleeping(seconds: float) -> dict[str, bytes]:
    name, old, new = SLEEPER
    return golf.edited((name, old, new.format(seconds)))


def test_training_beyond_the_wall_clock_is_an_overrun_with_the_seconds_over() -> None:
    train = tuple(data.load().train.values())[:3]
    found = measured(sleeping(60), timed(1.0), train)
    assert found.status == Label.TRAIN_BUDGET_OVERRUN
    assert found.numbers["phase"] == "train"
    assert float(found.numbers["seconds_over"]) == pytest.approx(float(found.numbers["seconds"]) - 1.0, abs=2e-3)
    assert float(found.numbers["seconds"]) < 1.0 + 5.0


@pytest.mark.parametrize(
    ("judge", "start"), [(golf.GOLF.judge, golf.SMOKE), (core.CORE.judge, core.CORE.spec.profiles["smoke"])]
)
@pytest.mark.parametrize(
    ("seconds", "label", "over"),
    [
        ({"train": 10.5, "spell": 1.0, "predict": 9.5}, VALID, None),
        ({"train": 10.51, "spell": 1.0, "predict": 1.0}, Label.TRAIN_BUDGET_OVERRUN, 0.51),
        ({"train": 1.0, "spell": 4.0, "predict": 7.0}, Label.EVAL_BUDGET_OVERRUN, 1.0),
    ],
)
def test_judges_apply_the_seconds_again(
    judge: Callable[..., object], start: Profile, seconds: dict[str, float], label: str, over: float | None
) -> None:
    limits = replace(start.limits, wallclock=True, train_seconds=10.0, eval_seconds=10.0, train_units=None)
    finished = Measurement("ok", "", 0, "validation", score=1.5 if start is golf.SMOKE else 0.5, seconds=seconds)
    finished = replace(finished, code_bytes=1, payload_bytes=1, numbers={"budget_used": 1.0})
    outcome = judge(finished, replace(start, limits=limits))
    assert outcome.label == label  # type: ignore[attr-defined]
    assert outcome.numbers.get("seconds_over") == over  # type: ignore[attr-defined]


def test_the_device_scorer_agrees_with_the_arithmetic_in_numpy() -> None:
    scorer = DeviceScorer("cpu")
    try:
        for shape in ((2, 5, 7), (3, 40, 5000)):
            room = scorer.room(math.prod(shape))
            logits = np.frombuffer(room, dtype="<f4").reshape(shape)
            logits[:] = DRAW.standard_normal(shape) * 30
            tokens = DRAW.integers(0, shape[2], size=shape[:2]).astype(np.int32)
            expected = scoring.log_probabilities(logits, tokens)
            np.testing.assert_allclose(scorer.log_probabilities(logits, tokens), expected, rtol=1e-12, atol=1e-12)
        logits[1, 3, 7] = np.inf
        with pytest.raises(scoring.NotADistribution, match="row 1 at position 3"):
            scorer.log_probabilities(logits, tokens)
    finally:
        scorer.close()
