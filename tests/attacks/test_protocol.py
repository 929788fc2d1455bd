"""Attacks on budgets, pipes and processes of a language model end with their label and leave nothing."""

from __future__ import annotations

import pytest

from evaluators.contract import Measurement
from tests.attacks import budgets, pipes, tricks
from tests.attacks.attack import Attack, cases, check, label_of
from tests.attacks.tiny import ARENAS

LOG_BYTES = 1 << 20


@pytest.mark.parametrize("case", cases(budgets.ATTACKS), ids=label_of)
def test_attack_on_a_budget(case: tuple[str, Attack], honest: dict[str, Measurement]) -> None:
    arena, attack = case
    check(attack, honest[arena], *attack.run(ARENAS[arena]))


@pytest.mark.parametrize("case", cases(pipes.ATTACKS), ids=label_of)
def test_attack_through_pipes_and_processes(case: tuple[str, Attack], honest: dict[str, Measurement]) -> None:
    arena, attack = case
    found, outcome = attack.run(ARENAS[arena])
    check(attack, honest[arena], found, outcome)
    assert len(found.log) < LOG_BYTES + 100


@pytest.mark.parametrize("case", cases(tricks.ATTACKS), ids=label_of)
def test_attack_from_inside_the_runner(case: tuple[str, Attack], honest: dict[str, Measurement]) -> None:
    arena, attack = case
    check(attack, honest[arena], *attack.run(ARENAS[arena]))
