"""The whole batch of acts against the walls: behind every level, as root and as an ordinary user, after a downgrade."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.attacks import walls
from tests.evaluators.test_sandbox import NOBODY, SYSTEM_PYTHON, users
from trials.vocab import VALID

#: (arena, wanted level, what is forced)
PLAN = [("golf", "L3", ""), ("speed", "L3", ""), ("golf", "L3", "landlock"), ("speed", "L2", "")]


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
def test_no_act_of_the_batch_works_at_any_level(user: str, tmp_path: Path) -> None:
    command, search = program(user)
    done = subprocess.run(
        [*command, "-B", "-m", walls.__name__, json.dumps(PLAN)],
        env={"PYTHONPATH": search, "PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "API_KEY": walls.SECRET},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(PLAN)
    for (arena, wanted, force), each in zip(PLAN, found, strict=True):
        reached = each["isolation"]
        where = (arena, wanted, force, reached["backend"], each["why"])
        assert (each["worked"], each["touched"], each["left"]) == ([], [], []), where
        assert (each["label"], each["same"]) == (VALID, True), where
        assert (reached["wanted"], reached["start"]) == (wanted, "warm")
        assert reached["level"] == ("L2" if force else wanted)
        assert (force in reached["why_lower"]) if force else (reached["why_lower"] == "")
