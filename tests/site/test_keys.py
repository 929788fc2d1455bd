"""Which processes of the stack are given the keys of model providers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autoresearch_site.embedded.layout import Layout
from autoresearch_site.stack_process import KEYS, Leader, leaders


def test_evaluators_and_the_beat_start_without_keys(tmp_path: Path) -> None:
    found = {leader.name: leader.without_keys for leader in leaders(Layout(tmp_path), 0)}
    assert found == {"web": False, "models": False, "agents": True, "evaluators": True, "beat": True}


@pytest.mark.parametrize("without", [True, False])
def test_a_process_without_keys_does_not_see_them(
    without: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "sk-stack-test-0123456789")
    log = tmp_path / "told.log"
    told = f"import os; print(sorted(set(os.environ) & {set(KEYS)!r}))"
    leader = Leader("told", [sys.executable, "-c", told], log, without_keys=without)
    leader.start()
    os.waitpid(leader.pid, 0)
    assert log.read_text().strip() == str([] if without else sorted(KEYS))
