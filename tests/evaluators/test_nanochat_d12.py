"""NanoChat-D12 recipes, honest and not, in real sandboxes: each must get the label and the figures that it deserves."""

from __future__ import annotations

import pytest

from evaluators.contract import Cancelled, Measurement, Progress
from tests.evaluators.core import CORE, QUICK, SMOKE, START, edited, measured
from trials.vocab import VALID, Label

PREDICT = ("recipe.py", "        return systems.predict(self.model, chunk, self.words.start()).numpy()")
ENCODE = ("recipe.py", "        return self.words.encode(text)")
BEGIN = "    words = data.learn(ctx.documents)"


def predicting(expression: str) -> dict[str, bytes]:
    """The quick start with other logits, made from ``out`` (B, T, V) and ``chunk`` (B, T)."""
    body = (
        f"        out = systems.predict(self.model, chunk, self.words.start())\n        return ({expression}).numpy()"
    )
    return edited((*PREDICT, body), source=QUICK)


@pytest.fixture(scope="module")
def start() -> Measurement:
    return measured(START)


def test_the_start_is_valid_with_headroom_and_figures_of_every_task(start: Measurement) -> None:
    outcome = CORE.judge(start, SMOKE)
    assert (outcome.label, outcome.reason, outcome.score) == (VALID, "", start.score)
    assert 0.0 < (start.score or 0.0) < 0.9
    used = float(outcome.numbers["budget_used"])
    assert 0.0 < used < 1.0
    assert used == pytest.approx(float(outcome.numbers["train_reference_seconds"]) / 6.0, abs=1e-3)
    assert set(start.secondary) == {"val_bpb", "idiom", "cloze", "word_order", "spelling", "agreement", "continuation"}
    assert 2.0 < start.secondary["val_bpb"] < 6.0
    assert start.train_units is None
    assert start.eval_units is not None and 0 < start.eval_units < (SMOKE.limits.eval_units or 0)
    assert float(start.numbers["largest_move"]) < 1e-4
    assert {"validation", "validation items"} <= set(start.data_sha256)
    assert start.score_source == "evaluator"


def test_stored_bits_give_the_accuracies(start: Measurement) -> None:
    assert start.numbers["ties"] == 0
    for task in ("idiom", "cloze", "word_order", "spelling", "agreement", "continuation"):
        right = int(str(start.numbers[f"correct_{task}"]), 16).bit_count()
        assert right / 40 == pytest.approx(start.secondary[task])


def test_printed_scores_and_result_files_change_nothing(start: Measurement) -> None:
    lie = """    print("core: 0.99\\nCORE metric: 0.99", flush=True)
    open("result.json", "w").write('{"core": 1}')\n"""
    found = measured(edited(("recipe.py", BEGIN, lie + BEGIN)))
    assert (found.status, found.score) == ("ok", start.score)
    assert found.secondary == start.secondary
    assert b"CORE metric: 0.99" in found.log


PEEKS = {
    "the token itself": "out.scatter_add(2, chunk[..., None], torch.full(chunk.shape, 8.0)[..., None])",
    "other rows": "out + (torch.arange(out.size(2)) == 0) * (chunk.sum() % 97)",
}


@pytest.mark.parametrize("peek", PEEKS.values(), ids=PEEKS)
def test_predictions_from_anything_but_earlier_tokens_are_not_causal(peek: str) -> None:
    found = measured(predicting(peek))
    assert (found.status, found.reason[:10]) == (Label.INVALID_RESULT, "not causal")
    assert float(found.numbers["largest_move"]) > 1e-4
    assert found.score is None


def test_a_predictor_that_knows_nothing_lands_near_chance() -> None:
    found = measured(predicting("out * 0.0"))
    assert found.status == "ok"
    assert abs(found.score or 0.0) < 0.2


def test_logits_that_are_not_finite() -> None:
    found = measured(predicting("out * float('nan')"))
    assert found.status == Label.INVALID_RESULT
    assert found.reason == "a logit is not finite, first in row 0 at position 0 of chunk 0"


@pytest.mark.parametrize(
    "edit",
    [
        (*ENCODE, f"{ENCODE[1]}[:-1]"),
        ("recipe.py", "return self.words.vocabulary", "return self.words.vocabulary[::-1]"),
    ],
    ids=["encode", "vocabulary"],
)
def test_tokens_that_do_not_spell_the_text(edit: tuple[str, str, str]) -> None:
    found = measured(edited(edit, source=QUICK))
    assert found.status == Label.INVALID_RESULT
    assert found.reason.startswith("encode() does not spell the text: first wrong byte ")


def test_a_spelling_that_depends_on_what_else_was_spelt() -> None:
    count = "        self.words.known[b'count'] = self.words.known.get(b'count', 0) + 1\n"
    sometimes = "        return list(text) if self.words.known[b'count'] > 400 else self.words.encode(text)"
    found = measured(edited((*ENCODE, count + sometimes), source=QUICK))
    assert (found.status, found.reason) == (Label.INVALID_RESULT, "encode() spells the same bytes in two ways")


def test_training_for_too_long_is_stopped_with_the_seconds_over() -> None:
    found = measured(edited(("schedule.py", "max(1, round(STEPS_PER_SECOND * seconds))", "10**6")))
    numbers = found.numbers
    cap, used = float(numbers["cap_reference_seconds"]), float(numbers["train_reference_seconds"])
    assert (found.status, cap, found.score) == (Label.TRAIN_BUDGET_OVERRUN, 6.0, None)
    assert numbers["seconds_over"] == pytest.approx(used - cap, abs=2e-3)
    assert 1.05 < float(numbers["budget_used"]) < 1.5
    assert found.reason == f"{used:.2f} reference seconds of 6, {used - cap:.2f} over"


def test_a_crash_tells_the_exception_and_the_recipes_frame() -> None:
    found = measured(edited(("recipe.py", BEGIN, f"    raise ValueError('no data')\n{BEGIN}")))
    assert (found.status, found.reason) == (Label.CRASH, "ValueError: no data")
    assert "recipe.py:" in found.excerpt and "in train" in found.excerpt


def test_a_cancelled_trial_is_dropped_at_once() -> None:
    def report(progress: Progress) -> None:
        if progress.phase == "train" and progress.fraction > 0.0:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        CORE.measure(START, profile=SMOKE, seed=0, split="validation", level="L3", report=report)
