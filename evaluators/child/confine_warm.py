"""The warm server: has imported what every sandbox would import, and forks one sandbox for each request.

Started by ``evaluators.sandbox.warm`` as ``python -sSB confine_warm.py SETTINGS``. It holds no secret, runs no recipe
and has one thread; a forked process raises the same walls as a freshly started one (confine.py) before it reads a byte.
It ends when the worker's end of its socket closes.

Request: a length (u32) with five descriptors (frames in, protocol out, channel, lifeline, log), then JSON
``{"settings": ..., "argv": [...]}``. Answer: the outermost process's id (u32) with a descriptor of it (pidfd).
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import importlib.machinery
import json
import os
import select
import socket
import struct
import sys
import tempfile
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import confine
from confine_kernel import gather

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTH = struct.Struct("<I")
DESCRIPTORS = 5
MOST_DESCRIPTORS = 1 << 20


class Hiding:
    """The finder of files, but for packages that a sandbox could not see: here nothing else hides them yet.

    Hidden ones are not found, like any that are not installed; a hook that raised would stop whoever merely asks.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """What the path finder says, or nothing."""
        return None if name in self._names else importlib.machinery.PathFinder.find_spec(name, path, target)


def _read(server: socket.socket, count: int) -> bytes:
    """Exactly so many bytes. Raises EOFError when the worker has gone."""
    pieces = []
    while count > 0:
        piece = server.recv(count)
        if not piece:
            raise EOFError
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _request(server: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next request and its descriptors. Raises EOFError when the worker has gone."""
    first, descriptors, _flags, _address = socket.recv_fds(server, 1, DESCRIPTORS)
    if not first:
        raise EOFError
    (length,) = LENGTH.unpack(first + _read(server, LENGTH.size - 1))
    return json.loads(_read(server, length)), descriptors


def _take_over(server: socket.socket, pipes: list[int], log: int) -> None:
    """In a forked process: keep nothing of the server's but its memory."""
    os.setsid()
    server.detach()
    null = os.open(os.devnull, os.O_RDWR)
    for standard, source in ((0, null), (1, null), (2, log)):
        os.dup2(source, standard)
    lowest = 3
    for kept in sorted(pipes):  # whatever else is open belongs to the server: other sandboxes are among it
        os.closerange(lowest, kept)
        lowest = kept + 1
    os.closerange(lowest, MOST_DESCRIPTORS)
    tempfile.tempdir = None  # an import may have settled on a folder that is not there behind the walls


def serve(server: socket.socket) -> tuple[confine.Settings, list[str]] | None:
    """Fork on request and reap what has ended. Returns None when the worker has gone.

    In a forked process it returns what that process is to become: nothing of this loop may stay below a sandbox.
    """
    poll = select.poll()
    poll.register(server, select.POLLIN)
    forked: dict[int, int] = {}
    while True:
        for ready, _event in poll.poll():
            if ready in forked:
                os.waitpid(forked.pop(ready), 0)
                poll.unregister(ready)
                os.close(ready)
                continue
            try:
                request, descriptors = _request(server)
            except (EOFError, ConnectionError):
                return None
            pid = os.fork()
            if pid == 0:
                *pipes, log = descriptors
                _take_over(server, pipes, log)
                return confine.Settings(**request["settings"], pipes=pipes), request["argv"]
            for descriptor in descriptors:
                os.close(descriptor)
            pidfd = os.pidfd_open(pid)  # before it is reaped, so it can be nobody else
            forked[pidfd] = pid
            poll.register(pidfd, select.POLLIN)
            with contextlib.suppress(ConnectionError):  # a worker that has gone is noticed above
                socket.send_fds(server, [LENGTH.pack(pid)], [pidfd])


def load(settings: dict[str, Any]) -> str:
    """Import what is to be shared; returns why this process must not fork, or nothing."""
    environment, hiding = dict(os.environ), Hiding(settings["hidden"])
    sys.path += settings["search"]
    place = sys.meta_path.index(importlib.machinery.PathFinder)
    sys.meta_path[place] = hiding
    try:
        for name in settings["preload"]:
            importlib.import_module(name)
    except Exception as error:  # an import may fail in any way; the worker starts cold processes instead
        return f"{type(error).__name__}: {error}"
    sys.meta_path[sys.meta_path.index(hiding)] = importlib.machinery.PathFinder
    for name in set(os.environ) - set(environment):  # an import may leave a path of this root here
        del os.environ[name]
    threads = len(os.listdir("/proc/self/task"))
    return "" if threads == 1 else f"{threads} threads after the imports, expected one"


def beside(walls: Iterable[str]) -> list[str]:
    """Names of modules that were loaded from this folder and are none of the walls."""
    loaded = set(sys.modules) - set(walls)
    return [name for name in loaded if os.path.dirname(getattr(sys.modules[name], "__file__", None) or "") == HERE]


def main() -> None:
    """Import, say so, serve; in a forked process: become a sandbox."""
    settings, walls = json.loads(sys.argv[1]), frozenset(sys.modules)
    with socket.socket(fileno=settings["socket"]) as server:
        # Imports take seconds: until they are done, a worker that goes ends this process by SIGIO's default action.
        fcntl.fcntl(server, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(server, fcntl.F_SETFL, os.O_ASYNC)
        fault = load(settings).encode()
        fcntl.fcntl(server, fcntl.F_SETFL, 0)
        server.sendall(LENGTH.pack(len(fault)) + fault)
        if fault:
            return
        runner = beside(walls)
        gc.collect()
        gc.freeze()  # forked processes share these pages as long as nobody counts references on them
        gather()
        wanted = serve(server)
    if wanted is not None:
        sandbox, argv = wanted
        if argv[0] != HERE:  # another folder's program has modules of its own by these names
            for name in runner:
                del sys.modules[name]
        os.environ.update(HOME=sandbox.scratch, TMPDIR=sandbox.scratch, PWD=sandbox.scratch)
        os.environ["CUDA_VISIBLE_DEVICES"] = sandbox.visible
        confine.become(sandbox, argv)


if __name__ == "__main__":
    main()
