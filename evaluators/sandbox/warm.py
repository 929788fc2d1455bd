"""Warm starts: each worker process has a server (child/confine_warm.py) that has torch loaded and forks sandboxes."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence

from evaluators.sandbox.command import BOX, Pipes, Plan, compile_child, environment
from evaluators.sandbox.records import SandboxUnavailable
from evaluators.sandbox.view import ENTRY, view

PRELOAD = ("numpy", "torch", "torch._dynamo", "torch.optim", "torch.utils.flop_counter")
"""What every recipe needs; optimisers import torch._dynamo when the first of them is built."""

RUNNER = ("language_model", "speed", "yardstick")
"""The runner's own modules (evaluators/child), with all that they import."""

LENGTH = struct.Struct("<I")  # as in the program
PROGRAM = ENTRY.with_name("confine_warm.py")
IMPORT_SECONDS = 120.0
ANSWER_SECONDS = 30.0


class WarmServer:
    """A server of this process's own, started with the first fork and again when it has died.

    preload: modules that it imports before it forks; their requirements must be visible to sandboxes.
    """

    def __init__(self, preload: Sequence[str] = PRELOAD + RUNNER) -> None:
        self._preload = tuple(preload)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._owner = os.getpid()

    def fork(self, plan: Plan, pipes: Pipes, log: int) -> tuple[int, int]:
        """Start a sandbox; returns the id of its outermost process and a descriptor of it (pidfd), which the caller
        closes. Raises SandboxUnavailable."""
        body = json.dumps({"settings": plan.settings, "argv": plan.argv}).encode()
        with self._lock:
            try:
                return self._ask(self._connected(), body, [*pipes.as_tuple(), log])
            except (OSError, EOFError):  # it was killed: by the host, for memory
                self._stop()
                try:
                    return self._ask(self._connected(), body, [*pipes.as_tuple(), log])
                except (OSError, EOFError) as error:
                    self._stop()
                    raise SandboxUnavailable(f"the warm server does not answer: {error}") from error

    @property
    def pid(self) -> int:
        """The server's process id; 0 when it does not run."""
        return 0 if self._process is None else self._process.pid

    def close(self) -> None:
        """End the server; sandboxes that it forked go on until their owners end them."""
        with self._lock:
            self._stop()

    @staticmethod
    def _ask(server: socket.socket, body: bytes, descriptors: list[int]) -> tuple[int, int]:
        socket.send_fds(server, [LENGTH.pack(len(body))], descriptors)
        server.sendall(body)
        answer, (pidfd, *_), _flags, _address = socket.recv_fds(server, LENGTH.size, 1)
        os.set_inheritable(pidfd, False)
        return int(LENGTH.unpack(answer)[0]), pidfd

    def _connected(self) -> socket.socket:
        if self._socket is None or self._owner != os.getpid():
            self._start()
        assert self._socket is not None
        return self._socket

    def _start(self) -> None:
        """Raises SandboxUnavailable when the imports fail or leave threads behind."""
        compile_child()
        sight = view()
        ours, theirs = socket.socketpair()
        settings = {
            "worker": os.getpid(),  # for people who read the process list
            "socket": theirs.fileno(),
            "search": sight.search,
            "hidden": sight.hidden,
            "preload": self._preload,
        }
        with theirs:
            self._process = subprocess.Popen(
                [sight.python, "-sSB", str(PROGRAM), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment(BOX),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket, self._owner = ours, os.getpid()
        ours.settimeout(IMPORT_SECONDS)
        (length,) = LENGTH.unpack(_exactly(ours, LENGTH.size))
        fault = _exactly(ours, length).decode(errors="replace")
        ours.settimeout(ANSWER_SECONDS)
        if fault:
            self._stop()
            raise SandboxUnavailable(f"warm server: {fault}")

    def _stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None and self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        self._socket, self._process = None, None


def _exactly(server: socket.socket, count: int) -> bytes:
    pieces = b""
    while len(pieces) < count:
        piece = server.recv(count - len(pieces))
        if not piece:
            raise EOFError("it ended while it started")
        pieces += piece
    return pieces


@functools.cache
def warm_server() -> WarmServer:
    """The server of this process."""
    server = WarmServer()
    atexit.register(server.close)
    return server
