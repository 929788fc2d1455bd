"""Diffs of a recipe: whatever was edited, what another program makes of the diff is the edited recipe."""

from __future__ import annotations

import difflib
import random
import subprocess
from pathlib import Path

import pytest

from specialists.workspace import unified_diff

LINES = [f"value_{number} = {number % 7}\n" for number in range(400)]


def edited(chance: random.Random, lines: list[str]) -> list[str]:
    """Lines with up to four edits, at the ends too."""
    found = list(lines)
    for _ in range(chance.randint(1, 4)):
        at, many = chance.choice([0, len(found), chance.randint(0, len(found))]), chance.randint(0, 3)
        found[at : at + many] = [f"new = {chance.randint(0, 3)}\n" for _ in range(chance.randint(0, 3))]
    return found


@pytest.mark.parametrize("ends", ["\n", ""])
def test_git_makes_the_edited_files_of_a_diff(tmp_path: Path, ends: str) -> None:
    chance = random.Random(5)
    before = {f"part_{number}.py": "".join(LINES[: chance.choice([0, 1, 2, 5, 400])]) for number in range(40)}
    after = {
        name: "".join(edited(chance, text.splitlines(keepends=True))).removesuffix("\n" if not ends else "")
        for name, text in before.items()
    }
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    diff = unified_diff(before, after)
    ran = subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff, text=True, capture_output=True, check=False)
    assert ran.stderr == ""
    assert {name: (tmp_path / name).read_text() for name in after} == after


def test_one_change_is_shown_as_difflib_shows_it() -> None:
    for at in (0, 1, 2, 3, 4, 200, 396, 397, 398, 399):
        after = [*LINES[:at], "other = 1\n", *LINES[at + 1 :]]
        whole = difflib.unified_diff(LINES, after, "a/train.py", "b/train.py")
        assert unified_diff({"train.py": "".join(LINES)}, {"train.py": "".join(after)}) == "".join(whole)
