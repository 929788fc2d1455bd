"""The keeper of one sandbox: a trusted process above the recipe that reaps, and ends everything in the end.

It is process 1 of the sandbox's own process id namespace, or a subreaper where there is none. It holds the read end
of a pipe whose write end only the worker has: when that closes (the worker is done, or dead), the tree is killed.
All descendants are reaped here, so that their CPU time reaches the worker through wait4.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
from collections.abc import Callable, Iterator
from types import FrameType


def tell(channel: int, record: dict[str, object]) -> None:
    """Write one JSON line to the worker; a worker that is gone is no fault."""
    with contextlib.suppress(OSError):
        os.write(channel, json.dumps(record).encode() + b"\n")


def _noted(_number: int, _frame: FrameType | None) -> None:
    """A handler makes SIGCHLD write to the wake-up pipe."""


def _reap() -> Iterator[tuple[int, int]]:
    """(pid, raw wait status) of every child that is dead by now."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, status


def _reap_all() -> dict[int, int]:
    """Wait until no child is left: pid -> raw wait status."""
    found: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, 0)
            found[pid] = status
    return found


def children_of(pid: int) -> list[int]:
    """Process ids of the living children, all threads taken together; empty when the process is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(word) for word in file.read().split()]
    return found


def sweep_namespace(_uid: int) -> dict[int, int]:
    """Process 1: everything else in the namespace dies at once."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    return _reap_all()


def _strike(uid: int) -> None:
    """SIGKILL every process of a uid at once."""
    killer = os.fork()
    if killer == 0:
        os.setgroups([])
        os.setresuid(uid, uid, uid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        os._exit(0)


def sweep_user(uid: int) -> dict[int, int]:
    """Subreaper in another kernel, where the uid belongs to the recipe alone: strike until no child is left. What that
    kernel shows in /proc is not relied upon."""
    found: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            _strike(uid)
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                found[pid] = status
            select.select([], [], [], 0.001)
    return found


def sweep_descendants(uid: int) -> dict[int, int]:
    """Subreaper: kill the tree. With a uid of its own (root's workers) in one stroke, else pass by pass.

    Orphans come to this process, so nothing can leave the tree; a fork that outruns one pass meets the next, and the
    process limit bounds how many there are.
    """
    if uid >= 0:
        _strike(uid)
    found: dict[int, int] = {}
    while True:
        found.update(_reap())
        tree = children_of(os.getpid())
        if not tree:
            break
        for pid in tree:  # grows while it is walked
            tree += children_of(pid)
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        select.select([], [], [], 0.001)
    return found


def remove(folder: str) -> None:
    """Remove a dead tree's scratch folder: entries come up one level until none is left, so that no depth of folders
    and no mode that their maker chose gets in the way. Nothing is followed."""
    number = 0
    with contextlib.suppress(OSError):
        while names := os.listdir(folder):
            for name in names:
                path = f"{folder}/{name}"
                if os.path.islink(path) or not os.path.isdir(path):
                    os.unlink(path)
                    continue
                os.chmod(path, 0o700)
                for inner in os.listdir(path):
                    number += 1
                    below = f"{path}/{inner}"
                    if os.path.isdir(below) and not os.path.islink(below):
                        os.chmod(below, 0o700)
                    os.rename(below, f"{folder}/up-{os.getpid()}-{number}")
                os.rmdir(path)
        os.rmdir(folder)


def keep(runner: int, *, lifeline: int, channel: int, uid: int, sweep: Callable[[int], dict[int, int]]) -> None:
    """Wait for the runner or for the worker's end, end the whole tree, tell the worker how it ended.

    Record: ``{"status": raw wait status of the runner, "cpu": seconds of all descendants, "rss": bytes, largest}``.
    """
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _noted)
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    dead: dict[int, int] = {}
    while True:
        dead.update((pid, status) for pid, status in _reap() if pid == runner)
        if runner in dead:
            break
        ready = [fd for fd, _event in poll.poll()]
        if lifeline in ready:
            break
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
    dead.update(sweep(uid))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    tell(
        channel,
        {"status": dead.get(runner, 0), "cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss * 1024},
    )
