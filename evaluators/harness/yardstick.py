"""The paired reference: a process of the evaluator's own, beside the recipe's, tells what a unit costs meanwhile."""

from __future__ import annotations

import json
import select
import struct
import time
from types import TracebackType

from evaluators.child.frames import Kind
from evaluators.harness.wire import Wire, WireError, not_ready
from evaluators.sandbox import Bounds, Isolation, spawn

START_SECONDS = 120.0
SCRATCH_BYTES = 1 << 20
ENOUGH = 3
USED = struct.Struct("<Qd")


class Yardstick:
    """Runs a slice of plain training now and then; a context manager around one trial.

    seconds: how long the trial may last at most; between: seconds of rest between two slices. ``cost()`` is the mean of
    CPU seconds per compute unit since ``begin()``: processors slow down and speed up by a third within a minute, so
    only the same minutes compare. Raises HarnessFault when its process does not start or ends early: no recipe can
    reach it.
    """

    def __init__(self, isolation: Isolation, memory_bytes: int, seconds: float, *, between: float) -> None:
        self._isolation, self._between = isolation, between
        self._bounds = Bounds(START_SECONDS + seconds, START_SECONDS + seconds, memory_bytes, SCRATCH_BYTES)
        self._slices: list[tuple[int, float]] = []
        self._since = 0
        self._asked, self._taken_at = False, 0.0

    def __enter__(self) -> Yardstick:
        self._process = spawn(self._isolation, self._bounds, argv=(), wait=False)
        self._wire = Wire(self._process, lambda _units: None)
        self._wire.start_clock(START_SECONDS)
        self._wire.send(Kind.SETTINGS, json.dumps({"protocol": "yardstick", "threads": 1}).encode())
        self._ask()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    def dismiss(self) -> None:
        """Nothing more will be asked: the process may end while the caller has other things to end."""
        self._process.dismiss()

    def begin(self) -> None:
        """A new phase: what was measured before counts only as long as there is too little."""
        self._since = len(self._slices)

    def tick(self) -> None:
        """Take the answer that is there, ask for the next slice when it is time; never waits."""
        if self._asked:
            if select.select([self._process.stdout], [], [], 0)[0]:
                self._take()
        elif time.monotonic() - self._taken_at > self._between:
            self._ask()

    def cost(self) -> float:
        """CPU seconds per compute unit; waits for a first slice."""
        if not self._slices:
            self._take()  # the first one was asked for at the start
        recent = self._slices[self._since :]
        chosen = recent if len(recent) >= ENOUGH else self._slices
        return sum(seconds for _, seconds in chosen) / sum(units for units, _ in chosen)

    def known(self) -> float:
        """``cost()`` when there is a first slice by now, else 0; never waits."""
        self.tick()
        return self.cost() if self._slices else 0.0

    def cpu_seconds(self) -> float:
        """What the reference itself has cost so far."""
        return self._process.cpu_seconds()

    def _ask(self) -> None:
        self._asked = True
        self._wire.send(Kind.SLICE)

    def _take(self) -> None:
        self._process.confirm()
        try:
            self._wire.start_clock(START_SECONDS)
            _, said = self._wire.receive({Kind.SLICED: USED.size})
        except WireError as error:
            raise not_ready(error, self._process.log()) from error
        units, seconds = USED.unpack(said)
        self._slices.append((units, seconds))
        self._asked, self._taken_at = False, time.monotonic()


class Unpaired:
    """Stands in for a Yardstick where an exclusive device's seconds are the budget: nothing runs beside the recipe."""

    def __enter__(self) -> Unpaired:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing ends."""

    def dismiss(self) -> None:
        """Nothing is there to end."""

    def begin(self) -> None:
        """Nothing is measured."""

    def tick(self) -> None:
        """Nothing is asked for."""

    def cost(self) -> float:
        """No unit is counted."""
        return 0.0

    def known(self) -> float:
        """No unit is counted."""
        return 0.0

    def cpu_seconds(self) -> float:
        """It costs nothing."""
        return 0.0
