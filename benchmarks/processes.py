"""CPU seconds of trees of processes, as the kernel counts them: children that have ended are in their parent's sum."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """own: of its threads; ended: of its children that it has waited for, and theirs. CPU seconds."""

    pid: int
    parent: int
    command: str
    own: float
    ended: float


def table() -> dict[int, Process]:
    """All processes of the machine by number."""
    found = {}
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        own, ended = (sum(map(int, fields[at : at + 2])) / _TICKS for at in (11, 13))
        found[int(path.name)] = Process(int(path.name), int(fields[1]), command, own, ended)
    return found


def below(roots: Iterable[int], processes: dict[int, Process]) -> set[int]:
    """The roots that are there, and all their descendants."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in processes]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def spent(pids: Iterable[int], processes: dict[int, Process]) -> float:
    """CPU seconds of these processes and of their children that have ended."""
    return sum(processes[pid].own + processes[pid].ended for pid in pids)
