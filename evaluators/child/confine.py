"""Beginning of every sandboxed process: put up the walls, then run the child folder's ``__main__``.

Started by ``evaluators.sandbox.spawn`` as ``python -sSB confine_start.py SETTINGS CHILD ARG...``, or forked from the
warm server (confine_warm.py); no byte of a recipe has been read before the walls stand. Three processes: keeper
(confine_reaper), runner (walls, then the child), and for the ``unshare`` backend one outside the namespaces. A runner
asks ``confine.confine()`` for the report.

-I is not used because it would ignore PYTHONHASHSEED; the environment is made by the parent, user and site folders
are off (-s -S), so no .pth file, sitecustomize or PYTHON* variable of the host is honoured.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from carrying import kernel
from confine_kernel import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    drop_privileges,
    prctl,
    set_limits,
)
from confine_landlock import restrict
from confine_reaper import keep, remove, sweep_descendants, sweep_namespace, sweep_user, tell
from confine_rooms import furnish, leave
from confine_seccomp import install, program

IN_HOST_ROOT = ("landlock", "limits")
OPERATOR = "operator"  # behind another kernel, with what its command shows
WRITABLE_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")
FAULT = 125  # exit code when a wall could not be built
_report: dict[str, object] = {}


class Settings(NamedTuple):
    """What the parent decided; made by ``evaluators.sandbox.command`` and passed as JSON."""

    backend: str  # bwrap | unshare | landlock | limits | operator
    pipes: Sequence[int]  # frames in, protocol out, channel to the worker, lifeline
    uid: int  # become this uid; -1: stay
    gid: int
    may_read: bool  # see drop_privileges
    limits: dict[str, int]  # rlimits by name
    scratch: str
    scratch_bytes: int
    shown: list[list[str]]  # (source, place) for the unshare backend
    links: list[list[str]]
    devices: list[str]  # shown, for the unshare backend
    driven: list[str]  # those of them that a recipe may drive
    visible: str  # CUDA_VISIBLE_DEVICES
    loopback: bool  # in its own network namespace
    read: list[str]  # Landlock
    listed: list[str]
    search: list[str]  # appended to sys.path


def confine(settings: Mapping[str, object] | None = None) -> dict[str, object]:
    """The walls this process stands behind. They were put up before the caller's code ran; ``settings`` adds nothing.

    Raises RuntimeError in a process that was not started by ``evaluators.sandbox.spawn``: there are no walls then.
    """
    if not _report:
        raise RuntimeError("not confined: start this program with evaluators.sandbox.spawn")
    return dict(_report)


def _die_with(parent: int) -> None:
    """SIGKILL when the parent ends; to be set again after a change of uid, which clears it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(FAULT)


def _become_keeper(settings: Settings) -> None:
    """Reach the process that is to be the keeper: behind namespaces where the backend has them."""
    if settings.backend == OPERATOR:
        with contextlib.suppress(OSError):  # gVisor: orphans go to the process that carries then
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        return
    if settings.backend in IN_HOST_ROOT:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        return
    if settings.backend == "unshare":
        leave(loopback=settings.loopback)
        first = os.fork()
        if first:
            for pipe in settings.pipes:
                os.close(pipe)
            os.waitpid(first, 0)
            os._exit(0)
        furnish(
            shown=settings.shown,
            links=settings.links,
            devices=settings.devices,
            scratch=settings.scratch,
            scratch_bytes=settings.scratch_bytes,
            owner=(settings.uid, settings.gid),
        )
    drop_privileges(settings.uid, settings.gid, may_read=settings.may_read)
    prctl(PR_SET_DUMPABLE, 0)
    _die_with(0)  # the parent is outside this process id namespace


def _keep(settings: Settings, runner: int) -> NoReturn:
    """The keeper's life."""
    frames, protocol, channel, lifeline = settings.pipes
    os.close(frames)
    os.close(protocol)
    code = FAULT
    try:
        ways = {OPERATOR: sweep_user, **dict.fromkeys(IN_HOST_ROOT, sweep_descendants)}
        sweep = ways.get(settings.backend, sweep_namespace)
        keep(runner, lifeline=lifeline, channel=channel, uid=settings.uid, sweep=sweep)
        if settings.backend in IN_HOST_ROOT:
            remove(settings.scratch)
        code = 0
    finally:
        os._exit(code)


def _raise_walls(settings: Settings, keeper: int) -> dict[str, object]:
    """Runner: give up what is left, limit, lock. Returns the report."""
    private_root = settings.backend not in IN_HOST_ROOT
    if settings.backend in (*IN_HOST_ROOT, OPERATOR):
        drop_privileges(settings.uid, settings.gid, may_read=settings.may_read)
    _die_with(keeper)
    prctl(PR_SET_DUMPABLE, 1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")  # when the host runs out of memory, the recipe goes first
    os.umask(0o022)
    guest = {"kernel": kernel()} if settings.backend == OPERATOR else {}
    os.chdir(settings.scratch)
    frames, protocol, _channel, lifeline = settings.pipes
    os.close(lifeline)
    os.dup2(frames, 0)
    os.dup2(protocol, 1)
    os.close(frames)
    os.close(protocol)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    set_limits(settings.limits)
    version = 0
    if settings.backend != "limits":
        version = restrict(
            read=["/"] if private_root else [*settings.read, f"/proc/{os.getpid()}"],
            listed=settings.listed,
            written=[settings.scratch],
            devices=WRITABLE_DEVICES,
            driven=settings.driven,
            tcp=settings.loopback,
        )
    if version == 0 and settings.backend == "landlock":
        raise OSError("this kernel has no Landlock")
    code = program(
        private_root=private_root,
        signal_scope=private_root or version >= 6,
        loopback=settings.loopback,
        pid=os.getpid(),
    )
    install(code)
    return {
        "backend": settings.backend,
        "uid": os.getuid(),
        "landlock_abi": version,
        "seccomp": code.hex(),
        "limits": settings.limits,
        "loopback": settings.loopback,
        "scratch": settings.scratch,
        **guest,
    }


def start() -> NoReturn:
    """The cold start: this program's own arguments say what to become."""
    become(Settings(**json.loads(sys.argv[1])), sys.argv[2:])


def become(settings: Settings, argv: list[str]) -> NoReturn:
    """Become keeper and runner; run the child folder ``argv[0]`` in the runner; end with its exit code."""
    channel = settings.pipes[2]
    try:
        _become_keeper(settings)
        keeper = os.getpid()
        runner = os.fork()
        if runner:
            _keep(settings, runner)
        _report.update(_raise_walls(settings, keeper))
    except BaseException as fault:  # whatever it is, nothing may run behind half a wall
        tell(channel, {"fault": f"{type(fault).__name__}: {fault}"})
        os._exit(FAULT)
    tell(channel, {"walls": _report})
    os.close(channel)
    sys.path += [folder for folder in settings.search if folder not in sys.path]
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")
    sys.exit(0)
