"""Attacks on speed at a gate end with their label, and all that they compute is on the clock."""

from __future__ import annotations

import pytest

from evaluators.contract import Measurement
from tests.attacks.attack import Attack, check
from tests.attacks.images import LATER, NEUTRAL, REFUSED, WORK, speed
from tests.attacks.tiny import SPEED


def name_of(attack: Attack) -> str:
    """A test's name."""
    return f"{attack.entry} {attack.name}".replace(" ", "-")


def verdict(attack: Attack, honest: Measurement) -> Measurement:
    """The attack's measurement, its verdict checked; a time is never the same twice, counts are."""
    found, outcome = attack.run(SPEED)
    check(Attack(**{**vars(attack), "same": False}), honest, found, outcome)
    return found


@pytest.mark.parametrize("attack", NEUTRAL, ids=name_of)
def test_what_a_process_says_changes_nothing(attack: Attack, honest: dict[str, Measurement]) -> None:
    found = verdict(attack, honest["speed"])
    assert found.numbers["correct"] == honest["speed"].numbers["correct"]


@pytest.mark.parametrize("attack", WORK, ids=name_of)
def test_all_work_is_on_the_clock(attack: Attack, honest: dict[str, Measurement]) -> None:
    found = verdict(attack, honest["speed"])
    assert found.cpu_seconds["seed_0"] > 0.6
    assert (found.score or 0.0) > 2 * (honest["speed"].score or 1.0)


def test_work_after_the_predictions_is_on_the_clock_until_the_tree_has_ended(honest: dict[str, Measurement]) -> None:
    """What is left for the end of a process buys nothing: the predictions have left, and its time runs on."""
    found = verdict(speed("work at the exit", "A7", {"predicted": LATER}), honest["speed"])
    assert found.numbers["correct"] == honest["speed"].numbers["correct"]


@pytest.mark.parametrize("attack", REFUSED, ids=name_of)
def test_what_is_refused(attack: Attack, honest: dict[str, Measurement]) -> None:
    found = verdict(attack, honest["speed"])
    assert "reference_0" not in found.seconds
