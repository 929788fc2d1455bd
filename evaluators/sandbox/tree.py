"""A process tree seen from outside through /proc: CPU time, resident memory, scratch use."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
ENTRIES_AT_MOST = 4096
"""Files and folders in a scratch folder; more is an overflow, because each costs kernel memory."""


@dataclass(frozen=True)
class Sample:
    """cpu: seconds of the living and of the dead that were waited for. resident: bytes, shared pages counted once per
    process. largest: bytes of the largest process."""

    cpu: float
    resident: int
    largest: int
    pids: tuple[int, ...]


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                yield from map(int, file.read().split())


def sample(root: int) -> Sample:
    """Read the tree below and including ``root``, parents before children: a process that dies meanwhile is missed
    once rather than counted twice."""
    cpu, resident, largest = 0, 0, 0
    waiting, seen = [root], {root}
    for pid in waiting:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        cpu += sum(map(int, fields[11:15]))
        own = int(fields[21]) * PAGE
        resident += own
        largest = max(largest, own)
        for each in _children(pid):
            if each not in seen:
                seen.add(each)
                waiting.append(each)
    return Sample(cpu / TICKS, resident, largest, tuple(waiting))


def proportional(pids: tuple[int, ...]) -> int | None:
    """Resident bytes with shared pages shared out (PSS); None when the kernel does not tell."""
    total, known = 0, False
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
            known = True
        except OSError:
            continue
    return total if known else None


def kill(pids: tuple[int, ...]) -> None:
    """SIGKILL each of them that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def entries_in_use(pid: int, folder: str) -> int:
    """Inodes used on the file system at ``folder`` in the root of ``pid``; 0 when it cannot be seen."""
    with contextlib.suppress(OSError):
        use = os.statvfs(f"/proc/{pid}/root{folder}")
        return use.f_files - use.f_ffree
    return 0


def bytes_in(folder: str) -> tuple[int, int]:
    """(bytes on disk, entries) below a folder, symbolic links not followed; stops counting beyond ENTRIES_AT_MOST.

    A folder that cannot be listed, because of its mode or its depth, hides something: it counts as too many entries.
    """
    total, entries, waiting = 0, 0, [folder]
    while waiting and entries <= ENTRIES_AT_MOST:
        try:
            with os.scandir(waiting.pop()) as listing:
                for entry in listing:
                    entries += 1
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError:
            return total, ENTRIES_AT_MOST + 1
    return total, entries
