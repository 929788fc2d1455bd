"""Small facts about Linux processes that the supervisors share: dying with the parent, process trees, bounded logs."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IMPORTED_BY = os.getpid()
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signum: int = signal.SIGKILL, *, parent: int | None = None) -> None:
    """Have the kernel send ``signum`` to this process when the thread that started it ends (prctl(2), PDEATHSIG).

    A parent that is gone already never triggers it, so the parent is compared as well: ``parent`` is its process id, by
    default that of the process which imported this module before it forked.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
    expected = _IMPORTED_BY if parent is None and os.getpid() != _IMPORTED_BY else parent
    if expected is not None and os.getppid() != expected:
        os.kill(os.getpid(), signum)


def adopt_orphans(adopt: bool) -> None:
    """Become, or no longer become, the parent of every descendant whose own parent dies: none slips out of the tree."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Process ids of all living descendants of ``root`` (zombies excluded), children before grandchildren."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (state := _parent_and_state(int(entry.name))):
            children.setdefault(state[0], []).append(int(entry.name))
    found: list[int] = []
    level = children.get(root, [])
    while level:
        found += level
        level = [grandchild for child in level for grandchild in children.get(child, [])]
    return found


def _parent_and_state(pid: int) -> tuple[int, str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, parent = text[text.rindex(b")") + 2 :].split(maxsplit=2)[:2]
    return None if state in {b"Z", b"X"} else (int(parent), state.decode())


def kill_tree(root: int) -> None:
    """SIGKILL ``root`` and all below it, again until nothing is left: a process may fork while it is looked at."""
    for _ in range(50):
        victims = [root, *descendants(root)]
        living = [pid for pid in victims if _parent_and_state(pid)]
        if not living:
            return
        for pid in living:
            send(pid, signal.SIGKILL)
        signal.sigtimedwait([], 0.02)


def send(pid: int, signum: int) -> None:
    """``os.kill`` for a process that may be gone already."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return


def last_line(path: Path, limit: int = 300) -> str:
    """The last non-empty line of a log file, cut to ``limit`` characters; empty when there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 16384))
            lines = stream.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:limit] for line in reversed(lines) if line.strip()), "")


def bound_log(path: Path, limit: int = 8 << 20) -> None:
    """Keep a log that others append to under ``limit`` bytes: its text moves to ``NAME.1``, the file is cut to zero.

    Writers hold the file open in append mode, so a cut (not a rename) is what they notice.
    """
    try:
        if path.stat().st_size <= limit:
            return
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        os.truncate(path, 0)
    except OSError:
        return
