"""Attacks on the score of a language model end with the label and the score that their honest part deserves."""

from __future__ import annotations

import pytest

from evaluators.contract import Measurement
from tests.attacks.attack import Attack, cases, check, label_of
from tests.attacks.scores import ATTACKS
from tests.attacks.tiny import ARENAS


@pytest.mark.parametrize("case", cases(ATTACKS), ids=label_of)
def test_attack_on_the_score(case: tuple[str, Attack], honest: dict[str, Measurement]) -> None:
    arena, attack = case
    check(attack, honest[arena], *attack.without_luck(ARENAS[arena], honest[arena]))
