"""The evaluator's end of a sandbox's pipes: frames with caps and deadlines, and CPU seconds watched from outside."""

from __future__ import annotations

import contextlib
import os
import select
import struct
import time
from collections.abc import Callable, Iterator, Mapping

from evaluators.child.frames import HEADER, PIECE, Kind
from evaluators.contract import HarnessFault
from evaluators.sandbox import Confined, Exit

TICK_SECONDS = 0.25
SMALL_FRAME = 64 << 10


class WireError(Exception):
    """The child did not answer as the protocol wants. Why is in the subclass."""


class Ended(WireError):
    """The child ended, or closed its pipe, before it answered."""

    def __init__(self, how: Exit | None) -> None:
        super().__init__(describe(how))
        self.how = how


class Garbage(WireError):
    """Bytes that are no frame, or a frame that is not allowed now."""


class TooLong(WireError):
    """A frame of an expected kind announces and sends more than its cap."""

    def __init__(self, kind: Kind, announced: int, cap: int) -> None:
        super().__init__(f"{kind.name} of {announced} bytes, at most {cap} are read")
        self.kind, self.announced, self.cap = kind, announced, cap


class Late(WireError):
    """The wall-clock allowance of the phase is used up."""

    def __init__(self, seconds: float, allowed: float) -> None:
        super().__init__(f"{seconds:.1f} s of {allowed:.0f} s wall clock")
        self.seconds, self.allowed = seconds, allowed


class Busy(WireError):
    """Far more CPU seconds than the counted units account for."""

    def __init__(self, seconds: float, allowed: float, units: int) -> None:
        super().__init__(f"{seconds:.1f} CPU s where {units} counted units account for at most {allowed:.1f} s")
        self.seconds, self.allowed, self.units = seconds, allowed, units


class Spent(WireError):
    """The CPU allowance of a phase that counts no units is used up."""

    def __init__(self, seconds: float, allowed: float) -> None:
        super().__init__(f"{seconds:.1f} CPU s of {allowed:g} s")
        self.seconds, self.allowed = seconds, allowed


class Overrun(WireError):
    """The child's meter passed the budget."""

    def __init__(self, units: int) -> None:
        super().__init__(f"{units} units")
        self.units = units


def describe(how: Exit | None) -> str:
    """One line on how a process ended."""
    if how is None:
        return "the process closed its pipe"
    if how.cause:
        return f"the process was ended: {how.cause}"
    return f"the process was killed by signal {how.signal}" if how.signal else f"the process exited with {how.code}"


def free() -> float:
    """CPU seconds per unit where no bound goes by units."""
    return 0.0


class Wire:
    """One child's conversation. ``watch(units)`` is called about four times a second and may raise to end it."""

    def __init__(self, confined: Confined, watch: Callable[[int], None]) -> None:
        self._confined = confined
        self._watch = watch
        self._since = time.monotonic()
        self._cpu_before = 0.0
        self._allowed = float("inf")
        self._cpu_floor, self._cpu_per_unit = float("inf"), free
        self.units = 0
        os.set_blocking(confined.stdin, False)
        os.set_blocking(confined.stdout, False)

    def start_clock(
        self, seconds: float, *, cpu_floor: float = float("inf"), cpu_per_unit: Callable[[], float] = free
    ) -> None:
        """Begin a phase: at most ``seconds`` of wall clock, and ``cpu_floor`` + ``cpu_per_unit()`` x units of CPU."""
        self._since, self._allowed = time.monotonic(), seconds
        self._cpu_before = self._confined.cpu_seconds()
        self._cpu_floor, self._cpu_per_unit = cpu_floor, cpu_per_unit
        self.units = 0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The evaluator works: its own seconds are not the recipe's."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began

    def share(self) -> float:
        """Share of the phase's wall clock that is gone."""
        return (time.monotonic() - self._since) / self._allowed

    def clocks(self) -> tuple[float, float]:
        """Wall-clock and CPU seconds since the phase began; the latter of the whole tree, from outside."""
        cpu = self._confined.cpu_seconds() - self._cpu_before
        return time.monotonic() - self._since, round(cpu, 6)  # a difference of hundredths: what is behind is no excess

    def check(self) -> None:
        """Raises Late, Busy or Spent when an allowance is used up, and whatever ``watch`` raises."""
        wall, cpu = self.clocks()
        if wall > self._allowed:
            raise Late(wall, self._allowed)
        if cpu > self._cpu_floor:  # only then what a unit costs is asked for, which may have to be waited for
            allowed = self._cpu_floor + self._cpu_per_unit() * self.units
            if cpu > allowed:
                raise Spent(cpu, allowed) if self._cpu_per_unit is free else Busy(cpu, allowed, self.units)
        self._watch(self.units)

    def _ready(self, descriptor: int, event: int) -> None:
        """Wait until the pipe can be used. Raises Ended when the child is gone, or what ``check`` raises."""
        poller = select.poll()
        poller.register(descriptor, event)
        while not poller.poll(1000 * TICK_SECONDS):
            self.check()
            if (how := self._confined.poll()) is not None and not poller.poll(0):
                raise Ended(how)

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Write one frame; a child that does not read runs into its own deadline.

        A child that is gone is no error here: ``receive`` reads its last words first and tells how it ended.
        """
        for part in (memoryview(HEADER.pack(kind, len(payload))), memoryview(payload)):
            at = 0
            while at < len(part):
                try:
                    self._ready(self._confined.stdin, select.POLLOUT)
                    at += os.write(self._confined.stdin, part[at : at + PIECE])
                except BlockingIOError:
                    continue
                except (BrokenPipeError, Ended):
                    return

    def _read(self, count: int) -> bytes:
        """So many bytes, kept in pieces until all are there: an announced length alone takes no memory."""
        pieces: list[bytearray] = []
        while count > 0:
            piece = bytearray(min(count, PIECE))
            self._fill(memoryview(piece))
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _fill(self, room: memoryview) -> None:
        """Read until ``room`` is full."""
        at, checked = 0, time.monotonic()
        while at < len(room):
            self._ready(self._confined.stdout, select.POLLIN)
            if time.monotonic() - checked > TICK_SECONDS:
                self.check()  # a stream that never pauses must not stop the clock
                checked = time.monotonic()
            with contextlib.suppress(BlockingIOError):
                count = os.readv(self._confined.stdout, [room[at : at + PIECE]])
                if not count:
                    raise Ended(self._confined.wait(2.0))
                at += count

    def receive(self, caps: Mapping[Kind, int], room: memoryview | None = None, front: int = 0) -> tuple[Kind, bytes]:
        """The next answer of one of the kinds in ``caps`` (kind -> most bytes); progress and FAILED are always allowed.

        room: takes an answer that fills it behind its first ``front`` bytes; only these are returned then.
        Raises Garbage, TooLong, Overrun, Ended, Late, Busy, Spent, or what ``watch`` raises.
        """
        checked = time.monotonic()
        while True:
            number, length = HEADER.unpack(self._read(HEADER.size))
            kind = next((k for k in (*caps, Kind.PROGRESS, Kind.OVERRUN, Kind.FAILED) if k == number), None)
            if kind is None:
                raise Garbage(
                    f"a frame of kind {number} and {length} bytes, expected {', '.join(k.name for k in caps)}"
                )
            if kind in caps or kind is Kind.FAILED:
                cap = caps.get(kind, SMALL_FRAME)
                if length > cap:
                    self._read(cap + 1)
                    raise TooLong(kind, length, cap)
                if room is None or kind is Kind.FAILED or length != front + len(room):
                    said = self._read(length)
                    # A front alone would pass for an answer that has filled the room, with what lay there before.
                    return kind, b"" if room is not None and length == front and kind in caps else said
                head = self._read(front)
                self._fill(room)
                return kind, head
            if length != 8:
                raise Garbage(f"{kind.name} of {length} bytes, expected 8")
            (units,) = struct.unpack("<Q", self._read(8))
            if kind is Kind.OVERRUN:
                raise Overrun(units)
            self.units = units
            if time.monotonic() - checked > TICK_SECONDS:
                self.check()
                checked = time.monotonic()


def not_ready(error: WireError, log: bytes) -> HarnessFault:
    """A child that fails before it has seen a recipe is the evaluator's own fault."""
    return HarnessFault(f"the runner did not start: {error}: {' '.join(log.decode(errors='replace').split())[-300:]}")
