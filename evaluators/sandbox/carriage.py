"""The worker's end of a sandbox behind an operator's command: five pipes over standard input, output and error.

The other end: ``evaluators/child/confine_carry.py``; what is said: ``carrying.py`` there. Threads carry, one for each
stream; all descriptors that they are given are theirs to close.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable

from evaluators.child.carrying import HEADER, LENGTH, LOG, MARK, PIECE, exactly, put
from evaluators.sandbox.command import Pipes

MOST_PREFACE = 1 << 20


def carry(stdin: int, stdout: int, stderr: int, pipes: Pipes, log: int) -> None:
    """Connect a started command's streams with a sandbox's pipes, until each ends."""
    frames, protocol, channel, lifeline = (os.dup(end) for end in pipes.as_tuple())
    _start(_bring, frames, lifeline, stdin)
    _start(_take, stdout, protocol)
    _start(_hear, stderr, os.dup(log), channel)


def _start(work: Callable[..., None], *descriptors: int) -> None:
    def run() -> None:
        try:
            with contextlib.suppress(EOFError, OSError):  # the other side went: so do these descriptors
                work(*descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    threading.Thread(target=run, name=f"carriage-{work.__name__.strip('_')}", daemon=True).start()


def _bring(frames: int, lifeline: int, stdin: int) -> None:
    """Frames to the sandbox, until the worker lets its lifeline go."""
    os.set_blocking(stdin, False)
    poll, waiting = select.poll(), b""
    poll.register(lifeline, select.POLLIN)
    poll.register(frames, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if lifeline in ready:
            return
        if frames in ready:
            piece = os.read(frames, PIECE)
            waiting = LENGTH.pack(len(piece)) + piece
            poll.unregister(frames)
            poll.register(stdin, select.POLLOUT)
            open_end = bool(piece)
        elif stdin in ready:
            with contextlib.suppress(BlockingIOError):
                waiting = waiting[os.write(stdin, waiting) :]
            if not waiting:
                poll.unregister(stdin)
                if open_end:
                    poll.register(frames, select.POLLIN)


def _pass_on(source: int, count: int, target: int) -> None:
    while count:
        piece = os.read(source, min(count, PIECE))
        if not piece:
            raise EOFError
        count -= len(piece)
        put(target, piece)


def _take(stdout: int, protocol: int) -> None:
    """The protocol from the sandbox."""
    while length := LENGTH.unpack(exactly(stdout, LENGTH.size))[0]:
        _pass_on(stdout, length, protocol)


def _hear(stderr: int, log: int, channel: int) -> None:
    """Log and records from the sandbox. What the command says before the sandbox's first word goes into the log."""
    preface = b""
    while MARK not in preface and len(preface) < MOST_PREFACE:
        piece = os.read(stderr, 1)
        if not piece:
            break
        preface += piece
    put(log, preface.removesuffix(MARK))
    while True:
        kind, length = HEADER.unpack(exactly(stderr, HEADER.size))
        if kind != LOG and not length:
            return
        _pass_on(stderr, length, log if kind == LOG else channel)
