"""The table of docs/attacks.md names tests and attacks that exist, and leaves out no entry that is tried here."""

from __future__ import annotations

import re

from tests.attacks import budgets, images, pipes, questions, scores, tricks
from tests.attacks.walls import CHECKOUT

PAGE = (CHECKOUT / "docs/attacks.md").read_text(encoding="utf-8")
TABLE = "\n".join(line for line in PAGE.splitlines() if line.startswith("| A"))
TABLES = [
    scores.ATTACKS,
    budgets.ATTACKS,
    pipes.ATTACKS,
    tricks.ATTACKS,
    questions.ATTACKS,
    [*images.NEUTRAL, *images.WORK, *images.REFUSED],
]
ATTACKS = [attack for table in TABLES for attack in table]


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(tests/[a-z0-9_/]+\.py)(?:::(\w+))?`", PAGE))
    assert len(named) > 20
    for path, name in named:
        text = (CHECKOUT / path).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, f"{path} has no {name}"


def test_every_attack_that_is_named_exists() -> None:
    named = set(re.findall(r"(?<!\*)\*([^*|]+)\*(?!\*)", TABLE))
    assert len(named) > 50
    assert named - {attack.name for attack in ATTACKS} == set()


def test_every_entry_that_is_tried_has_a_line() -> None:
    lines = {line.split()[1] for line in TABLE.splitlines()}
    assert {attack.entry for attack in ATTACKS} - lines == set()


def test_no_two_attacks_of_a_table_have_one_name() -> None:
    for table in TABLES:
        names = [attack.name for attack in table]
        assert len(names) == len(set(names))
