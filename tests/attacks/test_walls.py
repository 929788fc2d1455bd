"""Attacks of every entry and environment behind every level: as root, as an ordinary user, after a forced downgrade."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.attacks import walls
from tests.attacks.levels import refused
from tests.evaluators.test_sandbox import NOBODY, SYSTEM_PYTHON, users

#: (arena, wanted level, what is forced): with all walls, and with those of L2, wanted or after a downgrade
PLANS = {
    "L3": [("golf", "L3", ""), ("core", "L3", ""), ("speed", "L3", "")],
    "L2": [("golf", "L3", "landlock"), ("core", "L2", ""), ("speed", "L3", "landlock")],
}


def program(user: str) -> tuple[list[str], str]:
    """(command, search path) of an interpreter that this user can reach."""
    if user == "self":
        return [sys.executable], str(walls.CHECKOUT)
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", SYSTEM_PYTHON]
    return command, f"{walls.CHECKOUT}:{sysconfig.get_path('purelib')}"


def people() -> list[str]:
    """Who can run the program here: an ordinary user needs an interpreter of this version outside of closed homes."""
    wanted = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    fits = Path(SYSTEM_PYTHON).exists() and subprocess.run([SYSTEM_PYTHON, "-c", wanted], check=False).returncode == 0
    return [user for user in users() if user == "self" or fits]


@pytest.mark.parametrize("user", people())
@pytest.mark.parametrize("level", PLANS)
def test_no_attack_works_at_any_level(level: str, user: str, tmp_path: Path) -> None:
    command, search = program(user)
    done = subprocess.run(
        [*command, "-B", "-m", walls.__name__, json.dumps(PLANS[level])],
        env={"PYTHONPATH": search, "PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "API_KEY": walls.SECRET},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    only_walls = level == "L3" and user == "self" and os.getuid() == 0  # the others are in the tables
    wanted_of = {arena: (wanted, force) for arena, wanted, force in PLANS[level]}
    assert len(found) == sum(1 if only_walls else 1 + len(refused(arena)) for arena in wanted_of)
    for each in found:
        reached, (wanted, force) = each["isolation"], wanted_of[each["arena"]]
        where = (each["arena"], each["attack"], reached["backend"])
        assert (each["wrong"], each["touched"], each["left"]) == ("", [], []), where
        assert (reached["level"], reached["wanted"], reached["start"]) == (level, wanted, "warm"), where
        assert (force in reached["why_lower"]) if force else (reached["why_lower"] == ""), where
