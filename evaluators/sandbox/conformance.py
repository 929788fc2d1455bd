"""The sandbox's own conformance run: every level and every way to start it, tried on this host."""

from __future__ import annotations

import contextlib
import os
import select
import time
from dataclasses import dataclass, field

from evaluators.sandbox import tree
from evaluators.sandbox.reach import PROBE, PROBE_BOUNDS, candidates, knowledge, open_walls, self_test
from evaluators.sandbox.records import LEVEL_OF, LEVELS, UNISOLATED, Isolation, SandboxUnavailable
from evaluators.sandbox.start import spawn

GONE_SECONDS = 2.0


@dataclass(frozen=True)
class Attempt:
    """One way to start a sandbox. why_not: empty when its walls stand and every check that its level needs holds.

    checks: name -> held.
    """

    level: str
    backend: str
    start: str
    why_not: str
    checks: dict[str, bool] = field(default_factory=dict)


def conformance(lowest: str = LEVELS[-1]) -> list[Attempt]:
    """Try all ways to start a sandbox at ``lowest`` or a stronger level, strongest first."""
    names = [
        (backend, start)
        for backend, start in candidates(LEVELS[0], "warm")
        if LEVELS.index(LEVEL_OF[backend]) <= LEVELS.index(lowest)
    ]
    return [_try(backend, start) for backend, start in names]


def _try(backend: str, start: str) -> Attempt:
    level = LEVEL_OF[backend]
    if level == "L1" and os.environ.get(UNISOLATED) != "1":
        return Attempt(level, backend, start, f"only with {UNISOLATED}=1")
    isolation = Isolation(level, level, "", backend, start=start)
    try:
        _, checks = self_test(isolation)
        checks["tree_gone"] = tree_is_gone(isolation)
    except SandboxUnavailable as error:
        return Attempt(level, backend, start, str(error))
    missing = open_walls(level, checks)
    return Attempt(level, backend, start, f"self-test failed: {', '.join(missing)}" if missing else "", checks)


def tree_is_gone(isolation: Isolation) -> bool:
    """Whether processes that left their parent and their session are gone soon after the sandbox is ended."""
    with knowledge() as known, spawn(isolation, PROBE_BOUNDS, argv=["linger", known.text], child=PROBE) as probe:
        os.read(probe.stdout, 2)
        watched = []
        for pid in tree.sample(probe.pid).pids:
            with contextlib.suppress(ProcessLookupError):
                watched.append(os.pidfd_open(pid))
        probe.kill()
        deadline = time.monotonic() + GONE_SECONDS
        try:
            return len(watched) >= 4 and all(
                select.select([each], [], [], max(0.0, deadline - time.monotonic()))[0] for each in watched
            )
        finally:
            for each in watched:
                os.close(each)
