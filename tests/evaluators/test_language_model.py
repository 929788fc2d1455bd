"""The arithmetic of the score against an independent computation, and verdicts on what went wrong."""

from __future__ import annotations

import json
import math
from decimal import Decimal, getcontext

import numpy as np
import pytest

from evaluators.child.frames import Kind
from evaluators.contract import HarnessFault
from evaluators.harness import scoring
from evaluators.harness.order import count_code
from evaluators.harness.verdicts import of_failure, of_wire
from evaluators.harness.wire import Busy, Ended, Garbage, Late, Overrun, TooLong
from evaluators.sandbox import Exit
from trials.vocab import Label

DRAW = np.random.default_rng(0)


def test_bits_per_byte_agree_with_exact_decimal_arithmetic() -> None:
    getcontext().prec = 50
    logits = (DRAW.standard_normal((2, 5, 7)) * 30).astype(np.float32)
    tokens = DRAW.integers(0, 7, size=(2, 5)).astype(np.int32)
    product = Decimal(1)
    for row in range(2):
        for position in range(5):
            weights = [Decimal(float(x)).exp() for x in logits[row, position]]
            product *= weights[tokens[row, position]] / sum(weights)
    expected = float(-product.ln() / Decimal(2).ln() / 11)
    found = scoring.bits_per_byte(float(scoring.log_probabilities(logits, tokens).sum()), 11)
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_uniform_model_over_bytes_needs_eight_bits_whatever_the_offset() -> None:
    logits = np.full((1, 64, 256), 1e30, dtype=np.float32)
    tokens = DRAW.integers(0, 256, size=(1, 64)).astype(np.int32)
    assert scoring.bits_per_byte(float(scoring.log_probabilities(logits, tokens).sum()), 64) == pytest.approx(8.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_not_finite_is_refused_with_its_place(value: float) -> None:
    logits = np.zeros((2, 3, 4), dtype=np.float32)
    logits[1, 2, 0] = value
    with pytest.raises(scoring.NotADistribution, match="row 1 at position 2"):
        scoring.log_probabilities(logits, np.zeros((2, 3), dtype=np.int32))


@pytest.mark.parametrize(
    ("numbers", "wrong"),
    [([0, 1], -1), ([2], -1), ([0], 1), ([0, 0], 1), ([1, 0], 0), ([2, 0], 2), ([9], 0), ([], 0), ([0, 3, 1], -1)],
)
def test_tokens_spell_the_text_or_the_first_wrong_byte_is_told(numbers: list[int], wrong: int) -> None:
    vocabulary = [b"a", b"b", b"ab", b""]
    assert scoring.spells(np.array(numbers, dtype=np.int32), vocabulary, b"ab") == wrong


def test_every_token_is_counted_once_and_rows_keep_to_their_text() -> None:
    texts = [np.arange(10, dtype=np.int32), np.arange(100, 107, dtype=np.int32)]
    chunks = scoring.chunks_of(texts, rows=2, length=4)
    assert [chunk.tokens.shape for chunk in chunks] == [(2, 4), (2, 4), (1, 4)]
    counted = np.concatenate([chunk.tokens[chunk.counted] for chunk in chunks])
    assert counted.tolist() == [*range(10), *range(100, 107)]
    assert chunks[1].tokens.tolist() == [[8, 9, 9, 9], [100, 101, 102, 103]]


def test_a_scramble_keeps_the_past_and_replaces_the_future() -> None:
    pool = DRAW.integers(0, 500, size=3000).astype(np.int32)
    chunk = scoring.chunks_of([pool[:2048]], rows=4, length=512)[0]
    whole = 0
    for seed in range(50):
        other = scoring.scramble(chunk, pool, np.random.default_rng(seed))
        assert other.cuts.any()
        whole += int((other.cuts == 0).sum())
        for row, cut in enumerate(other.cuts):
            assert (other.tokens[row, :cut] == chunk.tokens[row, :cut]).all()
            assert (other.tokens[row, cut:] != chunk.tokens[row, cut:]).any()
    assert 10 < whole < 50


def test_a_move_before_the_cut_is_seen_and_one_behind_it_is_not() -> None:
    before = DRAW.standard_normal((2, 6))
    behind, ahead, lost = before.copy(), before.copy(), before.copy()
    behind[0, 4:] += 1.0
    ahead[1, 2] += 0.5
    lost[0, 1] = math.nan
    assert scoring.largest_move(before, behind, np.array([3, 5]))[0] == 0.0
    move, row, position = scoring.largest_move(before, ahead, np.array([3, 2]))
    assert move == pytest.approx(0.5) and (row, position) == (1, 2)
    assert scoring.largest_move(before, lost, np.array([3, 5]))[0] > 1e300


def test_code_is_counted_by_its_packing() -> None:
    one, two = {"a.py": b"x = 1\n"}, {"a.py": b"x = 1\n", "b.py": bytes(DRAW.bytes(500))}
    assert 0 < count_code(one) < 60
    assert 500 < count_code(two) - count_code(one) < 600


def failed(**said: object) -> bytes:
    return json.dumps({"stage": "import", "reason": "r", "excerpt": "e\nw", "contract": False} | said).encode()


@pytest.mark.parametrize(
    ("payload", "phase", "units", "label"),
    [
        (failed(), "train", 0, Label.PREFLIGHT_CRASH),
        (failed(), "train", 1, Label.CRASH),
        (failed(), "predict", 0, Label.CRASH),
        (failed(stage="train"), "train", 0, Label.CRASH),
        (failed(contract=True), "predict", 0, Label.INVALID_RESULT),
        (b"{}", "train", 0, Label.CRASH),
        (b"\xff", "train", 0, Label.CRASH),
        (b"[1]", "train", 0, Label.CRASH),
        (failed(contract="yes"), "train", 5, Label.CRASH),
    ],
)
def test_a_failure_told_by_the_recipe_gets_its_label(payload: bytes, phase: str, units: int, label: Label) -> None:
    assert of_failure(payload, phase, units).status == label  # type: ignore[arg-type]


def test_little_of_a_message_leaves_a_process_that_has_seen_held_out_text() -> None:
    said = failed(reason="x" * 5000, excerpt="y" * 5000 + "\nw" * 1)
    assert len(of_failure(said, "predict", 0).excerpt) <= 401
    assert len(of_failure(said, "predict", 0).reason) <= 200
    assert "\x1b" not in of_failure(failed(reason="\x1b[31m", excerpt="\x1b\nw"), "train", 0).excerpt


def ended(cause: str = "", code: int | None = None, signal: int | None = None) -> Ended:
    return Ended(Exit(code, signal, 1.0, 1.0, 0, cause))


@pytest.mark.parametrize(
    ("error", "train", "evaluation"),
    [
        (Overrun(110), Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN),
        (Late(3.0, 2.0), Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN),
        (Busy(3.0, 2.0, 5), Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN),
        (ended("wall"), Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN),
        (ended("memory"), Label.CRASH, Label.CRASH),
        (ended("scratch"), Label.CRASH, Label.CRASH),
        (ended(code=0), Label.CRASH, Label.CRASH),
        (ended(signal=9), Label.CRASH, Label.CRASH),
        (Ended(None), Label.CRASH, Label.CRASH),
        (Garbage("?"), Label.CRASH, Label.CRASH),
        (TooLong(Kind.TRAINED, 12, 10), Label.SIZE_BLOCKED, Label.SIZE_BLOCKED),
        (TooLong(Kind.LOGITS, 12, 10), Label.INVALID_RESULT, Label.INVALID_RESULT),
        (TooLong(Kind.TOKENS, 12, 10), Label.CRASH, Label.CRASH),
    ],
)
def test_nothing_that_a_recipe_does_is_the_hosts_fault(error: Exception, train: Label, evaluation: Label) -> None:
    assert of_wire(error, "train", 100).status == train  # type: ignore[arg-type]
    assert of_wire(error, "predict", 100).status == evaluation  # type: ignore[arg-type]


def test_overruns_carry_exact_figures() -> None:
    assert of_wire(Overrun(110), "train", 100).numbers == {"units": 110, "units_over": 10, "phase": "train"}
    assert of_wire(Late(3.25, 2.0), "train", 100).numbers == {"seconds": 3.25, "seconds_over": 1.25}
    assert of_wire(TooLong(Kind.TRAINED, 12, 10), "train", 100).numbers == {"bytes_over": 2}


def test_a_sandbox_that_breaks_is_the_hosts_fault() -> None:
    with pytest.raises(HarnessFault):
        of_wire(ended("fault"), "train", 100)
