"""The tasks: the same items always, balanced, with nothing to be told from position, length or frequency; the judge."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evaluators.contract import Measurement
from evaluators.environments.nanochat_d12 import NanochatD12, items_of, tasks
from evaluators.harness import text
from evaluators.harness.choices import Item, as_bits, centred, credit
from trials.vocab import VALID, Label

CORE = NanochatD12()
CPU = CORE.spec.profiles["cpu"]
GOOD = Measurement(
    "ok",
    "",
    0,
    "validation",
    score=0.4,
    numbers={"correct_idiom": "ff", "budget_used": 0.4, "train_reference_seconds": 12.0, "cap_reference_seconds": 30.0},
    eval_units=1,
)

#: Hashes of all items of a split at full size.
EXPECTED = {
    "validation": "1bc6ba02f0a32f8507ac6201473a5ab4d067288fc893690fda4ac114338c1d6e",
    "sealed": "4cbd41f3b4234c46438d30b53d02e3b86270a3f0a7faed28e2509abbc6a4ec00",
}


@pytest.fixture(scope="module", params=["validation", "sealed"])
def items(request: pytest.FixtureRequest) -> Sequence[Item]:
    return items_of(request.param, CPU)


def accuracy_by_task(items: Sequence[Item], score: Callable[[Item, bytes], float]) -> dict[str, float]:
    """Centred accuracy of each task under any score of a choice."""
    found: dict[str, float] = {}
    for task, ways in tasks.CHOICES.items():
        own = [item for item in items if item.task == task]
        right = sum(credit([score(item, choice) for choice in item.choices], item.answer) for item in own)
        found[task] = (right / len(own) - 1 / ways) / (1 - 1 / ways)
    return found


@pytest.mark.parametrize("split", EXPECTED)
def test_items_are_the_recorded_ones_and_made_again_alike(split: str) -> None:
    items = items_of(split, CPU)
    assert tasks.sha256_of(items) == EXPECTED[split]
    corpus = text.packaged(text.data_directory() / "nanochat_d12")
    again = tasks.build([corpus.train[name] for name in sorted(corpus.train)], corpus.documents(split), 8_192, 400)
    assert again == items


def test_every_task_has_many_items_and_its_answers_stand_anywhere_equally_often(items: Sequence[Item]) -> None:
    for task, ways in tasks.CHOICES.items():
        own = [item for item in items if item.task == task]
        assert 250 <= len(own) <= 400
        assert {len(item.choices) for item in own} == {ways}
        places = Counter(item.answer for item in own)
        assert max(places.values()) - min(places[i] for i in range(ways)) <= 1


def test_choices_differ_and_the_right_one_is_what_the_text_says(items: Sequence[Item]) -> None:
    corpus = text.packaged(text.data_directory() / "nanochat_d12")
    held_out = [*corpus.validation.values(), *corpus.sealed.values()]
    for item in items:
        assert len(set(item.choices)) == len(item.choices)
        assert len(item.context) >= 8 and not item.context[-1:].isspace()
        assert all(choice.startswith(b" ") for choice in item.choices)
        assert any(item.context + item.choices[item.answer] in body for body in held_out)


def test_items_are_not_made_of_the_text_that_bits_per_byte_are_about(items: Sequence[Item]) -> None:
    corpus = text.packaged(text.data_directory() / "nanochat_d12")
    held_out = [*corpus.validation.values(), *corpus.sealed.values()]
    middles = [tasks.middle(body, 8_192) for body in held_out]
    again = [i for i in items if any(i.context + i.choices[i.answer] in middle for middle in middles)]
    assert len(again) <= 3  # a few phrases of these books come back word for word


CUES: dict[str, Callable[[Item, bytes], float]] = {
    "first": lambda item, choice: -item.choices.index(choice),
    "last": lambda item, choice: item.choices.index(choice),
    "longest": lambda item, choice: len(choice),
    "shortest": lambda item, choice: -len(choice),
}


@pytest.mark.parametrize("cue", CUES.values(), ids=CUES)
def test_position_and_length_tell_nothing(items: Sequence[Item], cue: Callable[[Item, bytes], float]) -> None:
    assert max(map(abs, accuracy_by_task(items, cue).values())) < 0.06


def test_how_common_the_words_of_a_choice_are_tells_nothing(items: Sequence[Item]) -> None:
    corpus = text.packaged(text.data_directory() / "nanochat_d12")
    known = Counter(word for body in corpus.train.values() for word in tasks.WORD.findall(body))

    def common(_item: Item, choice: bytes) -> float:
        words = tasks.WORD.findall(choice)
        return sum(known[word] for word in words) / len(words)

    found = accuracy_by_task(items, common)
    assert max(map(abs, found.values())) < 0.11


def test_a_random_scorer_lands_at_zero(items: Sequence[Item]) -> None:
    draw = random.Random(1)
    found = accuracy_by_task(items, lambda _item, _choice: draw.random())
    assert abs(sum(found.values()) / 6) < 0.05


def test_the_score_is_zero_at_chance_and_one_when_all_is_right() -> None:
    chances = {"a": 0.25, "b": 0.5}
    assert centred(chances, chances) == 0.0
    assert centred({"a": 1.0, "b": 1.0}, chances) == 1.0
    assert centred({"a": 0.25, "b": 0.75}, chances) == pytest.approx(0.25)


def test_ties_are_shared_and_margins_that_the_probe_may_miss_are_ties() -> None:
    assert credit([-1.0, -2.0], 0) == 1.0
    assert credit([-2.0, -1.0], 0) == 0.0
    assert credit([-1.0, -1.0, -1.0, -1.0], 2) == 0.25
    assert credit([-1.0, -1.0001, -3.0], 1) == 0.5
    assert as_bits([1.0, 0.0, 0.5, 1.0]) == "90"


def test_a_good_measurement_is_valid_up_to_the_tolerance_of_its_budget() -> None:
    assert CORE.judge(GOOD, CPU).label == VALID
    assert "correct_idiom" not in CORE.judge(GOOD, CPU).numbers
    full = {"budget_used": 1.05, "train_reference_seconds": 31.5, "cap_reference_seconds": 30.0}
    assert CORE.judge(replace(GOOD, numbers=full), CPU).label == VALID
    over = {"budget_used": 1.06, "train_reference_seconds": 31.8, "cap_reference_seconds": 30.0}
    outcome = CORE.judge(replace(GOOD, numbers=over), CPU)
    assert (outcome.label, outcome.score) == (Label.TRAIN_BUDGET_OVERRUN, None)
    assert outcome.numbers["seconds_over"] == pytest.approx(1.8)
    assert outcome.reason == "31.80 reference seconds of 30, 1.80 over"


@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), 0.98, 1.0])
def test_impossible_scores_are_invalid(score: float | None) -> None:
    outcome = CORE.judge(replace(GOOD, score=score), CPU)
    assert (outcome.label, outcome.score) == (Label.INVALID_RESULT, None)


def test_too_many_units_of_evaluation_and_unknown_statuses() -> None:
    assert CORE.judge(replace(GOOD, eval_units=10**15), CPU).label == Label.EVAL_BUDGET_OVERRUN
    outcome = CORE.judge(replace(GOOD, status="crash", reason="memory", numbers={"phase": "train"}), CPU)
    assert (outcome.label, outcome.reason, outcome.score) == (Label.CRASH, "memory", None)
    with pytest.raises(ValueError, match="harness_abort"):
        CORE.judge(replace(GOOD, status="harness_abort"), CPU)


def test_prepare_tells_what_is_there_and_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = CORE.prepare(CPU)
    assert report["ready"] is True and report["missing"] == []
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setattr(text, "PLAYS", "no_such_text==0.6")
    report = CORE.prepare(CPU)
    assert report["ready"] is False and "no_such_text" in str(report["missing"])
