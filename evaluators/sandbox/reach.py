"""Which level this host reaches: found by doing it, with a self-test behind the walls, once per process."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import select
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from evaluators.child.carrying import kernel, same_kernel
from evaluators.sandbox.leftovers import prefix
from evaluators.sandbox.records import (
    FORKABLE,
    LEVEL_OF,
    LEVELS,
    NO_LOOPBACK,
    NOT_AT_L1,
    OPERATOR,
    OWN_NETWORK,
    PRIVATE,
    UNISOLATED,
    Bounds,
    Isolation,
    SandboxUnavailable,
)
from evaluators.sandbox.start import spawn

PROBE = Path(__file__).resolve().parent / "probe"
PROBE_BOUNDS = Bounds(wall_seconds=20.0, cpu_seconds=10.0, memory_bytes=1 << 30, scratch_bytes=1 << 20, processes=16)
ANSWER_BYTES = 1 << 16
FORCE = "AUTORESEARCH_SANDBOX_FORCE"


@dataclass(frozen=True)
class Known:
    """What a probe is told, as JSON in ``text``, and the sockets of ours that it is told of."""

    text: str
    doors: tuple[socket.socket, ...]

    def nobody_came(self) -> bool:
        """Whether none of the sockets was reached, as this side sees it."""
        return not select.select(self.doors, [], [], 0)[0]


@contextlib.contextmanager
def knowledge() -> Iterator[Known]:
    """Files of ours that no recipe may read, this process, sockets that listen: Unix by path and abstract, TCP, UDP."""
    with tempfile.TemporaryDirectory(prefix=prefix("probe")) as folder, contextlib.ExitStack() as opened:
        unix, abstract = (opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        datagrams = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        tcp = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        os.chmod(folder, 0o755)  # noqa: S103 - any uid must be able to try
        unix.bind(f"{folder}/socket")
        os.chmod(f"{folder}/socket", 0o666)  # noqa: S103
        abstract.bind(f"\0{folder}")
        datagrams.bind(("127.0.0.1", 0))
        for listener in (unix, abstract):
            listener.listen()
        told = {
            "files": ["/etc/passwd", str(Path(__file__).resolve())],
            "worker": os.getpid(),
            "sockets": [f"{folder}/socket", f"\0{folder}"],
            "tcp": tcp.getsockname()[1],
            "udp": datagrams.getsockname()[1],
            "processes": PROBE_BOUNDS.processes,
        }
        yield Known(json.dumps(told), (unix, abstract, datagrams, tcp))


def self_test(isolation: Isolation) -> tuple[dict[str, object], dict[str, bool]]:
    """(report of the walls, findings). Raises SandboxUnavailable when the walls cannot be built or the test not run."""
    with knowledge() as known, spawn(isolation, PROBE_BOUNDS, argv=["check", known.text], child=PROBE) as probe:
        answer = b""
        while piece := os.read(probe.stdout, ANSWER_BYTES):
            answer += piece
        ended = probe.wait(PROBE_BOUNDS.wall_seconds)
        if ended is None or ended.code != 0:
            raise SandboxUnavailable(f"self-test did not run: {probe.log()[-300:].decode(errors='replace')}")
        findings: dict[str, bool] = json.loads(answer)
        findings["nobody_came"] = known.nobody_came()
        if isolation.backend == "operator":
            findings["own_kernel"] = not same_kernel(kernel(), cast("dict[str, str]", probe.walls["kernel"]))
        return probe.walls, findings


def open_walls(level: str, findings: Mapping[str, bool]) -> list[str]:
    """Checks that this level has to pass and did not."""
    excused = NOT_AT_L1 if level == "L1" else frozenset()
    return sorted(name for name, holds in findings.items() if holds is not True and name not in excused)


def _bwrap_version() -> str:
    try:
        return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    except (OSError, subprocess.CalledProcessError):
        return ""


def _network(level: str, *, loopback: bool) -> str:
    if level not in OWN_NETWORK:
        return "sockets refused"
    whose = "another kernel's" if level == "L4" else "own namespace"
    return f"{whose}, its loopback only" if loopback else f"{whose}, sockets refused"


def _try(backend: str, start: str, wanted: str, reasons: dict[str, str], *, loopback: bool) -> Isolation:
    """This backend's isolation. Raises SandboxUnavailable."""
    level = LEVEL_OF[backend]
    why = "" if level == wanted else "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    walls, findings = self_test(Isolation(level, wanted, why, backend, start=start, loopback=loopback))
    if missing := open_walls(level, findings):
        raise SandboxUnavailable(f"self-test failed: {', '.join(missing)}")
    details: dict[str, object] = {
        "uid": walls["uid"],
        "kernel": platform.release(),
        "bwrap_version": _bwrap_version() if backend == "bwrap" else "",
        "landlock_abi": walls["landlock_abi"],
        "seccomp_sha256": walls["seccomp_sha256"],
        "limits": walls["limits"],
        "network": _network(level, loopback=loopback),
        "cgroup": "none: memory is watched from outside, processes are limited by rlimit",
        "self_test": findings,
        "notes": dict(reasons),
    }
    if level == "L4":
        details |= {"command": os.environ[OPERATOR], "guest": walls["kernel"]}
    return Isolation(level, wanted, why, backend, details, start, loopback)


def candidates(wanted: str, start: str) -> Iterator[tuple[str, str]]:
    """(backend, start) from ``wanted`` downwards: a level is worth more than a warm start."""
    for level in LEVELS[LEVELS.index(wanted) :]:
        backends = [backend for backend in LEVEL_OF if LEVEL_OF[backend] == level]
        if start == "warm":
            yield from ((backend, "warm") for backend in backends if backend in FORKABLE)
        yield from ((backend, "cold") for backend in backends)


@functools.cache
def _reach(wanted: str, start: str, force: str, loopback: bool, _operator: str) -> Isolation:
    reasons: dict[str, str] = {}
    for backend, how in candidates(wanted, start):
        name = f"{how} {backend}"
        if not set(filter(None, force.split(","))) <= {backend, LEVEL_OF[backend], how}:
            reasons[name] = f"{FORCE}={force}"
            continue
        if loopback and backend not in PRIVATE:
            reasons[name] = NO_LOOPBACK
            continue
        if LEVEL_OF[backend] == "L1" and os.environ.get(UNISOLATED) != "1":
            reasons[name] = f"only with {UNISOLATED}=1"
            continue
        try:
            return _try(backend, how, wanted, reasons, loopback=loopback)
        except SandboxUnavailable as reason:
            reasons[name] = str(reason)
    what = "no sandbox with a loopback" if loopback else "no sandbox"
    raise SandboxUnavailable(f"{what} on this host: " + "; ".join(f"{k}: {v}" for k, v in reasons.items()))


def reach(wanted: str = "L3", *, start: str = "cold", loopback: bool = False) -> Isolation:
    """The strongest level of this host, ``wanted`` or lower with the reason in ``why_lower``; cached per process.

    start: ``warm`` where processes may be forked from one that has torch loaded; it is used only when a forked process
    passes the same self-test. loopback: whether the processes of one sandbox may meet over TCP and UDP; only at levels
    with a network namespace of their own, where the self-test is run with it. The environment variable
    AUTORESEARCH_SANDBOX_FORCE names the only level, backend or start that may be used (``L2``, ``bwrap``,
    ``unshare,cold``). Raises SandboxUnavailable when none can be built, ValueError for an unknown level.
    """
    if wanted not in LEVELS:
        what = "L0 is no isolation and refused" if wanted == "L0" else f"unknown isolation level {wanted!r}"
        raise ValueError(f"{what}: expected one of {', '.join(LEVELS)}")
    return _reach(wanted, start, os.environ.get(FORCE, ""), loopback, os.environ.get(OPERATOR, ""))
