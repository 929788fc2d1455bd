"""Beginning of a sandbox behind an operator's command (L4), which passes on standard input, output and error only.

Started as ``COMMAND... python -sSB confine_carry.py SETTINGS CHILD ARG...`` by ``evaluators.sandbox``, as root of a
kernel that is not the host's. It forks; the fork gets the usual four pipes and becomes keeper and runner (confine.py),
this process carries them (carrying.py), and ``evaluators.sandbox.carriage`` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
from typing import NoReturn

import confine
from carrying import HEADER, LENGTH, LOG, MARK, PIECE, RECORD, exactly, kernel, put, same_kernel
from confine_kernel import raise_loopback


def _push(frames: int, piece: bytes) -> None:
    """Hand frames to the child. Raises EOFError when the worker goes while the child does not take them."""
    poll = select.poll()
    poll.register(frames, select.POLLOUT)
    poll.register(0, 0)  # its end only
    while piece:
        ready = dict(poll.poll())
        if 0 in ready:
            raise EOFError
        with contextlib.suppress(BlockingIOError):
            piece = piece[os.write(frames, piece) :]


def _bring(frames: int, lifeline: int) -> None:
    """Thread: from stdin to the child, until the worker goes."""
    os.set_blocking(frames, False)
    open_end = True
    with contextlib.suppress(EOFError, OSError):
        while True:
            (length,) = LENGTH.unpack(exactly(0, LENGTH.size))
            piece = exactly(0, length)
            if open_end and piece:
                try:
                    _push(frames, piece)
                except BrokenPipeError:  # the child listens no more
                    piece = b""
            if open_end and not piece:
                os.close(frames)
                open_end = False
    os.close(lifeline)


def _take(protocol: int) -> None:
    """Thread: from the child to stdout."""
    with contextlib.suppress(OSError):  # nobody reads it any more
        while piece := os.read(protocol, PIECE):
            put(1, LENGTH.pack(len(piece)) + piece)
        put(1, LENGTH.pack(0))


def _tell(log: int, channel: int) -> None:
    """Log and records to stderr, until the keeper has gone."""
    poll = select.poll()
    for descriptor in (log, channel):
        poll.register(descriptor, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if log in ready:
            if piece := os.read(log, PIECE):
                put(2, HEADER.pack(LOG, len(piece)) + piece)
                continue
            poll.unregister(log)
        if channel in ready:
            piece = os.read(channel, PIECE)
            put(2, HEADER.pack(RECORD, len(piece)) + piece)
            if not piece:
                return


def _carry(frames: int, protocol: int, channel: int, lifeline: int, log: int) -> NoReturn:
    """The life of the process that carries. What ends last is the protocol, unless the worker has gone."""
    signal.signal(
        signal.SIGCHLD, signal.SIG_IGN
    )  # as process 1 of its kernel it inherits orphans: nobody waits for them
    bring = threading.Thread(target=_bring, args=(frames, lifeline), daemon=True)
    take = threading.Thread(target=_take, args=(protocol,), daemon=True)
    bring.start()
    take.start()
    with contextlib.suppress(OSError):
        _tell(log, channel)
    while take.is_alive() and bring.is_alive():
        take.join(0.01)
    os._exit(0)


def _divide() -> tuple[int, int, int, int]:
    """Fork; returns the child's ends (frames, protocol, channel, lifeline) in the fork, never in this process."""
    (frames, to_frames), (of_protocol, protocol), (of_channel, channel), (lifeline, hold), (of_log, log) = (
        os.pipe() for _ in range(5)
    )
    if os.fork():
        for end in (frames, protocol, channel, lifeline, log):
            os.close(end)
        _carry(to_frames, of_protocol, of_channel, hold, of_log)
    for end in (to_frames, of_protocol, of_channel, hold, of_log):
        os.close(end)
    null = os.open(os.devnull, os.O_RDWR)
    for standard, source in ((0, null), (1, null), (2, log)):
        os.dup2(source, standard)
    os.close(null)
    os.close(log)
    return frames, protocol, channel, lifeline


def main() -> None:
    """Refuse the host's own kernel, then divide and become a sandbox."""
    settings = json.loads(sys.argv[1])
    host, fault = settings.pop("host"), ""
    if same_kernel(host, kernel()):
        fault = f"the command leads to the host's own kernel, {host['release']}, expected another one"
    elif os.getuid() != 0:
        fault = f"the command starts programs as uid {os.getuid()}, expected root of its own kernel"
    put(2, MARK)
    if fault:
        told = json.dumps({"fault": fault}).encode() + b"\n"
        put(2, HEADER.pack(RECORD, len(told)) + told + HEADER.pack(RECORD, 0))
        os._exit(confine.FAULT)
    if settings["loopback"]:
        with contextlib.suppress(OSError):  # it may be up; the self-test finds out
            raise_loopback()
    confine.become(confine.Settings(**settings, pipes=_divide()), sys.argv[2:])


if __name__ == "__main__":
    main()
