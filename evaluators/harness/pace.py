"""The reference beside a recipe: the same core, the same seconds, work of the evaluator's own.

Two processes that share one core meet the same clock rate, the same neighbours and the same steal, a few milliseconds
apart. Neither can leave it: the walls refuse sched_setaffinity.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
from collections.abc import Iterator
from types import TracebackType

from evaluators.child.frames import Kind
from evaluators.contract import HarnessFault
from evaluators.harness import cold_process
from evaluators.harness.cold_process import Order
from evaluators.harness.wire import Wire, WireError
from evaluators.sandbox import Bounds, Confined, tree

START_SECONDS = 120.0
USED = struct.Struct("<Qd")


class Pace:
    """A reference process; a context manager around the processes of one trial.

    longest: seconds that the trial may last at most. Raises HarnessFault when its process does not start or ends early:
    no recipe can reach it.
    """

    def __init__(self, order: Order, source: bytes, longest: float) -> None:
        self._order, self._source = order, source
        limits, most = order.limits, START_SECONDS + longest
        self._bounds = Bounds(most, most, limits.memory_bytes, cold_process.SCRATCH_BYTES, processes=limits.processes)
        self._taken: list[float] = []

    def __enter__(self) -> Pace:
        self._process = cold_process.confine(self._order, self._bounds)
        self._wire = Wire(self._process, lambda _units: None)
        try:
            cold_process.hear_ready(self._order, self._wire, self._process, seed=0, beside=True)
            self._wire.start_clock(START_SECONDS)
            self._wire.send(Kind.SOURCE, self._source)
            self._wire.send(Kind.IMAGES, self._order.images)
            self._wire.send(Kind.LABELS, self._order.labels)
            self._hear(Kind.TRAINED, 0)
        except BaseException:
            self._process.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    @contextlib.contextmanager
    def beside(self, confined: Confined) -> Iterator[None]:
        """Work on one core with another process, which has not read a recipe yet, while the block lasts."""
        core = secrets.choice(sorted(os.sched_getaffinity(0)))
        for process in (confined, self._process):
            pin(process.pid, core)
        self._say()
        try:
            yield
        finally:
            self._take()

    def step_seconds(self) -> float:
        """CPU seconds of a reference step, over the block that has just ended."""
        return self._taken[-1]

    def cpu_seconds(self) -> float:
        """What the reference itself has cost, its start included."""
        return self._process.cpu_seconds()

    def _say(self) -> None:
        self._wire.start_clock(START_SECONDS)
        self._wire.send(Kind.SLICE)

    def _take(self) -> None:
        self._say()
        steps, seconds = USED.unpack(self._hear(Kind.SLICED, USED.size))
        self._taken.append(seconds / steps)

    def _hear(self, expected: Kind, size: int) -> bytes:
        """An answer of the reference. Raises HarnessFault for anything else."""
        try:
            kind, said = self._wire.receive({expected: size})
        except WireError as error:
            raise HarnessFault(f"the reference process failed: {error}") from error
        if kind is not expected or len(said) != size:
            raise HarnessFault(f"the reference process failed: {said.decode(errors='replace')[:300]}")
        return said


def pin(root: int, core: int) -> None:
    """Keep every thread of a process tree on one core. Raises HarnessFault when the host does not let us."""
    try:
        for pid in tree.sample(root).pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), {core})
    except OSError as error:
        raise HarnessFault(f"processes cannot be kept on core {core}: {error}") from error
