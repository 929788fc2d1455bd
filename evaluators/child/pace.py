"""Child side of the reference beside a recipe: work of the evaluator's own, in slices, for as long as a recipe's takes.

It never sees a recipe's sources and times itself; what it tells is the evaluator's own word.
"""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Callable

import frames
from frames import Kind

SLICE_STEPS = 10
#: Below this many slices the mean says little; that is when a recipe is done sooner.
FEWEST = 3


def keep(step: Callable[[], None], incoming: int, outgoing: int) -> None:
    """From one SLICE to the next: work without a rest, so that the core is shared alike whatever else the machine does.

    SLICED: steps (u64) and their CPU seconds (f64).
    """
    step()  # the first one allocates
    frames.write_frame(outgoing, Kind.TRAINED)
    while frames.next_frame(incoming) is not None:
        slices, total, told = 0, 0.0, False
        while not told or slices < FEWEST:
            began = time.process_time()
            for _ in range(SLICE_STEPS):
                step()
            slices, total = slices + 1, total + time.process_time() - began
            told = bool(select.select([incoming], [], [], 0)[0])
        frames.read_frame(incoming, Kind.SLICE)
        frames.write_frame(outgoing, Kind.SLICED, struct.pack("<Qd", slices * SLICE_STEPS, total))
