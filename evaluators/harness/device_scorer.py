"""Log-probabilities computed on a device by a process of the evaluator's own, where numpy would be too slow.

Logits are read from the recipe's pipe straight into memory that is shared with that process: no recipe can reach it,
so they cannot change between two looks. numpy needs 1.6 s for a gigabyte of logits, on one core.
"""

from __future__ import annotations

import atexit
import functools
import json
import mmap
import os
import struct
import subprocess
import threading

import numpy as np

from evaluators.contract import HarnessFault
from evaluators.harness.scoring import Floats, Logits, NotADistribution, Tokens
from evaluators.sandbox.command import environment
from evaluators.sandbox.view import CHILD, view

PROGRAM = CHILD / "scorer.py"
REQUEST = struct.Struct("<5I")
FLOAT = 4


class DeviceScorer:
    """One process on one device and the memory that it shares with this one. Methods may be called by any thread, but
    what is in ``room`` belongs to one measurement at a time.

    device: a name that torch knows; visible: CUDA_VISIBLE_DEVICES of the process; threads: of its CPU work.
    """

    def __init__(self, device: str, *, visible: str = "", threads: int = 1) -> None:
        self._settings = {"device": device, "threads": threads}
        self._visible = visible
        self._memory = os.memfd_create("logits", os.MFD_CLOEXEC)
        self._shared: mmap.mmap | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def room(self, count: int) -> memoryview:
        """Bytes of shared memory for ``count`` float32, to be filled by the caller; valid until the next call."""
        size = max(mmap.PAGESIZE, FLOAT * count)
        if self._shared is None or len(self._shared) < size:
            os.ftruncate(self._memory, size)
            self._shared = mmap.mmap(self._memory, size)
        return memoryview(self._shared)[: FLOAT * count]

    def log_probabilities(self, logits: Logits, tokens: Tokens) -> Floats:
        """logits (B, T, V), which lie in ``room``; tokens (B, T) -> natural log-probability of each token (B, T).

        Raises NotADistribution when a logit is not finite, HarnessFault when the process ends.
        """
        (picked,) = self._ask(logits, tokens, 1)
        return picked

    def with_margins(self, logits: Logits, tokens: Tokens) -> tuple[Floats, Floats]:
        """The same, and how far each token's logit is above the largest of the others (B, T); infinite alone."""
        picked, margins = self._ask(logits, tokens, 2)
        return picked, margins

    def _ask(self, logits: Logits, tokens: Tokens, figures: int) -> list[Floats]:
        """So many figures, each (B, T)."""
        rows, length, vocabulary = logits.shape
        said = tokens.astype("<i4").tobytes()
        with self._lock:
            try:
                self._send(REQUEST.pack(rows, length, vocabulary, len(said), figures - 1) + said)
                if self._receive(1) == b"\x01":
                    row, position = struct.unpack("<2I", self._receive(8))
                    raise NotADistribution(f"a logit is not finite, first in row {row} at position {position}")
                body = self._receive(8 * figures * rows * length)
                return list(np.frombuffer(body, dtype="<f8").reshape(figures, rows, length))
            except OSError as error:
                self._stop()
                raise HarnessFault(f"the device scorer ended: {error}") from error

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            sight = view()
            told = {**self._settings, "memory": self._memory, "search": list(sight.search)}
            self._process = subprocess.Popen(
                [sight.python, "-sSB", str(PROGRAM), json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd="/",
                env=environment("/tmp") | {"CUDA_VISIBLE_DEVICES": self._visible},  # noqa: S108 - nothing is written
                pass_fds=[self._memory],
                start_new_session=True,
                bufsize=0,
            )
            self._receive(1)
        return self._process

    def _send(self, data: bytes) -> None:
        stream = self._running().stdin
        assert stream is not None
        at = 0
        while at < len(data):
            at += stream.write(data[at:]) or 0

    def _receive(self, count: int) -> bytes:
        stream = self._running().stdout
        assert stream is not None
        pieces: list[bytes] = []
        while count > 0:
            piece = stream.read(count)
            if not piece:
                raise BrokenPipeError("it closed its pipe")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        self._process = None


@functools.cache
def device_scorer(device: str, visible: str, threads: int) -> DeviceScorer:
    """This worker's process for a device."""
    scorer = DeviceScorer(device, visible=visible, threads=threads)
    atexit.register(scorer.close)
    return scorer
