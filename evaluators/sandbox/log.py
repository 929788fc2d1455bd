"""A bounded log: the first and the last part of what came, with a mark for what was cut."""

from __future__ import annotations

import contextlib
import os
import threading

CHUNK = 1 << 16
PIECES_AT_MOST = 64


class BoundedLog:
    """Keeps at most ``limit`` bytes: the first half, and the last half in memory that does not grow."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head, self._tail = bytearray(), bytearray()
        self._total = 0
        self._lock = threading.Lock()

    def drain(self, descriptor: int) -> bool:
        """Read one piece; False at the end of the stream."""
        piece = os.read(descriptor, CHUNK)
        with self._lock:
            self._total += len(piece)
            room = self._half - len(self._head)
            self._head += piece[:room]
            self._tail += piece[room:] if room > 0 else piece
            if len(self._tail) > 2 * self._half + CHUNK:
                del self._tail[: -self._half]
        return bool(piece)

    def drain_rest(self, descriptor: int) -> None:
        """Read what is in the pipe now, without waiting for a writer that may still hold it."""
        os.set_blocking(descriptor, False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(PIECES_AT_MOST):
                if not self.drain(descriptor):
                    return

    def last(self, most: int) -> bytes:
        """The newest bytes of what was kept."""
        with self._lock:
            return bytes(self._tail[-most:] if len(self._tail) >= most else (self._head[-most:] + self._tail)[-most:])

    def value(self) -> bytes:
        """What was kept."""
        with self._lock:
            head, tail = bytes(self._head), bytes(self._tail[-self._half :])
            cut = self._total - len(head) - len(tail)
        return head + tail if cut <= 0 else head + f"\n[... {cut} bytes cut ...]\n".encode() + tail
