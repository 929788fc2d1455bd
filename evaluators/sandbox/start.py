"""Starting a confined process: a fresh interpreter, or one forked from the warm server."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluators.sandbox.carriage import carry
from evaluators.sandbox.command import BOX, Pipes, Plan, environment, plan
from evaluators.sandbox.leftovers import prefix
from evaluators.sandbox.process import Confined
from evaluators.sandbox.records import PRIVATE, Bounds, Isolation, SandboxUnavailable
from evaluators.sandbox.view import CHILD
from evaluators.sandbox.warm import WarmServer, warm_server

PIPE_BYTES = 1 << 20


def spawn(
    isolation: Isolation,
    bounds: Bounds,
    *,
    argv: Sequence[str],
    readonly: Sequence[Path] = (),
    child: Path = CHILD,
    server: WarmServer | None = None,
    wait: bool = True,
) -> Confined:
    """Start ``child`` (a folder with ``__main__.py``) with ``argv`` behind the walls of ``isolation``.

    Returns when the walls stand and before the child's own code has read anything; without ``wait`` at once, and the
    caller calls ``confirm()`` before it sends anything of a recipe. readonly: files and folders of the host to show.
    server: forks warm starts; this process's own when left out. Raises SandboxUnavailable when the walls cannot be
    built; never for what the child does.
    """
    (frames, stdin), (stdout, protocol), (channel, record), (lifeline, hold), (log, shout) = (
        os.pipe2(os.O_CLOEXEC) for _ in range(5)
    )
    ours, theirs = (stdin, stdout, channel, hold, log), Pipes(frames, protocol, record, lifeline)
    warm = isolation.start == "warm"
    box = ""
    for pipe in (frames, protocol):
        with contextlib.suppress(OSError):  # a convenience: fewer switches for large frames
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        if isolation.backend not in PRIVATE:
            box = tempfile.mkdtemp(prefix=prefix("box"))
        decided = plan(isolation, bounds, argv=argv, readonly=readonly, child=child, box=box)
        if box and decided.uid >= 0:
            os.chown(box, decided.uid, decided.uid)
        if warm:
            pid, pidfd = (server or warm_server()).fork(decided, theirs, shout)
        elif isolation.backend == "operator":
            pid, pidfd = _start_carried(decided, theirs, shout)
        else:
            pid, pidfd = _start(decided, theirs, shout, environment(box or BOX, bounds.visible))
    except BaseException as error:
        for descriptor in (*ours, *theirs.as_tuple(), shout):
            os.close(descriptor)
        if box:
            shutil.rmtree(box, ignore_errors=True)
        if isinstance(error, OSError):
            raise SandboxUnavailable(f"the sandbox could not be started: {error}") from error
        raise
    for descriptor in (*theirs.as_tuple(), shout):
        os.close(descriptor)
    confined = Confined(pid, pidfd, bounds, ours, box)
    if wait:
        confined.confirm()
    return confined


def _start(decided: Plan, pipes: Pipes, shout: int, variables: Mapping[str, str]) -> tuple[int, int]:
    """A fresh interpreter: its process id and a descriptor of it.

    No preexec_fn: between fork and exec of a threaded process only C code may run. The walls are raised by the started
    program itself, which has one thread.
    """
    process = subprocess.Popen(
        decided.command(pipes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=shout,
        cwd="/",
        env=variables,
        pass_fds=pipes.as_tuple(),
        start_new_session=True,
    )
    pidfd = os.pidfd_open(process.pid)
    process.returncode = 0  # Confined waits for it, for the sake of its CPU time; subprocess must not be first
    return process.pid, pidfd


def _start_carried(decided: Plan, pipes: Pipes, shout: int) -> tuple[int, int]:
    """A fresh interpreter behind an operator's command. The command gets PATH and HOME of this process and no more."""
    process = subprocess.Popen(
        decided.carried(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        start_new_session=True,
    )
    pidfd = os.pidfd_open(process.pid)
    process.returncode = 0  # as above
    ends = []
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        with stream:
            ends.append(os.dup(stream.fileno()))
    stdin, stdout, stderr = ends
    carry(stdin, stdout, stderr, pipes, shout)
    return process.pid, pidfd
