"""The local processes: they come up together, are mended, and go together, however their parent ends."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearch_site import embedded
from autoresearch_site.stack import Stack, StackError, serving
from tests.site.census import ROOT, belonging, until

STARTER = """
import sys, time
from pathlib import Path
from autoresearch_site import embedded
from autoresearch_site.stack import Stack
with Stack(Path(sys.argv[1]), web=True, port=0) as stack:
    print(stack.port, flush=True)
    stack.wait()
"""


@pytest.fixture(autouse=True)
def _environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.ensure(data_dir)
    for name in ("DATABASE_URL", "BROKER_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEBUG", "1")  # pages without collected static files
    monkeypatch.setenv("EVALUATOR_SLOTS", "1")


def answers(port: int) -> bool:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        client.request("GET", "/static/nothing-there")
        return client.getresponse().status in (302, 404)
    except OSError:
        return False
    finally:
        client.close()


def process(folder: Path, part: str) -> int:
    """The process id of the oldest process of the stack that has ``part`` in its command; 0 for none."""
    return min((pid for pid, command in belonging(folder).items() if part in command), default=0)


def local(folder: Path) -> list[str]:
    """The stack's processes (not the servers)."""
    parts = ("celery", "stack_process", "autoresearch_site.web")
    return [command for command in belonging(folder).values() if any(part in command for part in parts)]


def test_a_killed_process_comes_back_and_all_end_in_order(data_dir: Path) -> None:
    with Stack(data_dir, web=True, port=0) as stack:
        assert until(lambda: answers(stack.port), 60)
        assert f"http://127.0.0.1:{stack.port}/" in serving(data_dir)
        with pytest.raises(StackError, match="is served already, by process"), Stack(data_dir, web=True, port=0):
            pass
        with Stack(data_dir, web=False) as second:
            second.check()
        first = process(data_dir, "autoresearch_site.web")
        os.kill(first, signal.SIGKILL)
        assert until(lambda: process(data_dir, "autoresearch_site.web") not in (0, first), 30)
        assert until(lambda: answers(stack.port), 60)
        assert until(lambda: "ev@" in " ".join(local(data_dir)), 10)
        stack.check()
    assert local(data_dir) == []
    assert serving(data_dir) == ""


@pytest.mark.parametrize("victim", ["starter", "stack_process"])
def test_kill_nine_takes_all_along(data_dir: Path, victim: str) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    assert int(starter.stdout.readline()) > 0
    assert until(lambda: len([command for command in local(data_dir) if "worker" in command]) >= 4, 60)
    os.kill(starter.pid if victim == "starter" else process(data_dir, "stack_process"), signal.SIGKILL)
    assert until(lambda: local(data_dir) == [], 20)
    _, words = starter.communicate(timeout=20)
    assert ("StackError: the local processes ended" in words) == (victim == "stack_process")
