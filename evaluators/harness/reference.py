"""The paired reference: a cold sandboxed process that does the evaluator's own fixed work beside a recipe's training.

CPU time of one and the same program drifts by 5 to 10 % with what else a machine does. A budget in CPU seconds is
therefore divided by what the reference costs at the same time. No recipe code or byte ever reaches its process.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from evaluators.child.frames import Kind
from evaluators.harness.wire import SMALL_FRAME, Wire, WireError, not_ready
from evaluators.sandbox import Bounds, Isolation, spawn

START_SECONDS = 120.0
WORK_SECONDS = 120.0
MEMORY_BYTES = 4 << 30
SCRATCH_BYTES = 1 << 20


class Reference:
    """A context manager: the process lives from entry to exit and costs nothing while it waits.

    ``watch`` is called about four times a second while it works and may raise Cancelled.
    """

    def __init__(self, isolation: Isolation, *, steps: int, seconds: float, watch: Callable[[], None]) -> None:
        self._isolation, self._steps, self._watch = isolation, steps, watch
        longest = START_SECONDS + 2 * WORK_SECONDS + seconds
        self._bounds = Bounds(longest, 2 * longest, MEMORY_BYTES, SCRATCH_BYTES)
        self._stack = ExitStack()

    def __enter__(self) -> Reference:
        """Raises HarnessFault when the process does not start, SandboxUnavailable without walls."""
        confined = self._stack.enter_context(spawn(self._isolation, self._bounds, argv=()))
        try:
            self._confined, self._wire = confined, Wire(confined, lambda _units: self._watch())
            settings = {"protocol": "reference", "threads": 1, "steps": self._steps}
            self._ask(Kind.SETTINGS, json.dumps(settings).encode(), Kind.READY, START_SECONDS)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _ask(self, kind: Kind, payload: bytes, answer: Kind, seconds: float) -> float:
        """One request; returns the CPU seconds that it took, from outside. Raises HarnessFault."""
        try:
            self._wire.start_clock(seconds)
            self._wire.send(kind, payload)
            self._wire.receive({answer: SMALL_FRAME})
        except WireError as error:
            raise not_ready(error, self._confined.log()) from error
        return self._wire.clocks()[1]

    def cpu_seconds(self) -> float:
        """CPU seconds of the fixed work, done now. Raises HarnessFault."""
        return self._ask(Kind.WORK, b"", Kind.WORKED, WORK_SECONDS)
