"""Which level this host reaches: found by doing it, with a self-test behind the walls, once per process."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

from evaluators.sandbox.records import FORKABLE, LEVEL_OF, LEVELS, Bounds, Isolation, SandboxUnavailable
from evaluators.sandbox.start import spawn

PROBE = Path(__file__).resolve().parent / "probe"
PROBE_BOUNDS = Bounds(wall_seconds=20.0, cpu_seconds=10.0, memory_bytes=1 << 30, scratch_bytes=1 << 20)
ANSWER_BYTES = 1 << 16
FORCE = "AUTORESEARCH_SANDBOX_FORCE"


def _self_test(isolation: Isolation) -> tuple[dict[str, object], dict[str, object]]:
    """(report of the walls, findings). Raises SandboxUnavailable with the reason when a wall is missing."""
    secret = Path(__file__).resolve()  # a file of ours that no recipe may read
    with spawn(isolation, PROBE_BOUNDS, argv=["/etc/passwd", str(secret)], child=PROBE) as probe:
        answer = b""
        while piece := os.read(probe.stdout, ANSWER_BYTES):
            answer += piece
        ended = probe.wait(PROBE_BOUNDS.wall_seconds)
        if ended is None or ended.code != 0:
            raise SandboxUnavailable(f"self-test did not run: {probe.log()[-300:].decode(errors='replace')}")
        findings: dict[str, object] = json.loads(answer)
        open_walls = sorted(name for name, holds in findings.items() if holds is not True)
        if open_walls:
            raise SandboxUnavailable(f"self-test failed: {', '.join(open_walls)}")
        return probe.walls, findings


def _bwrap_version() -> str:
    try:
        return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    except (OSError, subprocess.CalledProcessError):
        return ""


def _try(backend: str, start: str, wanted: str, reasons: dict[str, str]) -> Isolation:
    """This backend's isolation. Raises SandboxUnavailable."""
    level = LEVEL_OF[backend]
    why = "" if level == wanted else "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    walls, findings = _self_test(Isolation(level, wanted, why, backend, start=start))
    details: dict[str, object] = {
        "uid": walls["uid"],
        "kernel": platform.release(),
        "bwrap_version": _bwrap_version() if backend == "bwrap" else "",
        "landlock_abi": walls["landlock_abi"],
        "seccomp_sha256": walls["seccomp_sha256"],
        "limits": walls["limits"],
        "network": "own namespace, no interface up" if level == "L3" else "sockets and TCP refused",
        "cgroup": "none: memory is watched from outside, processes are limited by rlimit",
        "self_test": findings,
        "notes": dict(reasons),
    }
    return Isolation(level, wanted, why, backend, details, start)


def _candidates(wanted: str, start: str) -> Iterator[tuple[str, str]]:
    """(backend, start) from ``wanted`` downwards: a level is worth more than a warm start."""
    for level in LEVELS[LEVELS.index(wanted) :]:
        backends = [backend for backend in LEVEL_OF if LEVEL_OF[backend] == level]
        if start == "warm":
            yield from ((backend, "warm") for backend in backends if backend in FORKABLE)
        yield from ((backend, "cold") for backend in backends)


@functools.cache
def _reach(wanted: str, start: str, force: str) -> Isolation:
    reasons: dict[str, str] = {}
    for backend, how in _candidates(wanted, start):
        name = f"{how} {backend}"
        if not set(filter(None, force.split(","))) <= {backend, LEVEL_OF[backend], how}:
            reasons[name] = f"{FORCE}={force}"
            continue
        try:
            return _try(backend, how, wanted, reasons)
        except SandboxUnavailable as reason:
            reasons[name] = str(reason)
    raise SandboxUnavailable("no sandbox on this host: " + "; ".join(f"{k}: {v}" for k, v in reasons.items()))


def reach(wanted: str = "L3", *, start: str = "cold") -> Isolation:
    """The strongest level of this host, ``wanted`` or lower with the reason in ``why_lower``; cached per process.

    start: ``warm`` where processes may be forked from one that has torch loaded; it is used only when a forked process
    passes the same self-test. The environment variable AUTORESEARCH_SANDBOX_FORCE names the only level, backend or
    start that may be used (``L2``, ``bwrap``, ``unshare,cold``). Raises SandboxUnavailable when none can be built,
    ValueError when ``wanted`` is not one of LEVELS.
    """
    if wanted not in LEVELS:
        raise ValueError(f"unknown isolation level {wanted!r}: expected one of {', '.join(LEVELS)}")
    return _reach(wanted, start, os.environ.get(FORCE, ""))
