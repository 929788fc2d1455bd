"""One cold process that trains and predicts, from the evaluator's side: what it is sent, when, and what it costs.

Its clock starts before the first byte of its sources leaves and stops when its whole process tree is gone, so work that
is left for children, threads or exit hooks counts like any other.
"""

from __future__ import annotations

import json
import secrets
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluators.child.frames import Kind
from evaluators.contract import HarnessFault, Limits
from evaluators.harness import placement
from evaluators.harness.gate import Rules
from evaluators.harness.verdicts import Phase, Verdict, of_failure, of_wire
from evaluators.harness.wire import Wire, WireError, not_ready
from evaluators.sandbox import Bounds, Confined, Isolation, spawn
from trials.vocab import Label

START_SECONDS = 120.0
END_SECONDS = 30.0
SCRATCH_BYTES = 64 << 20

Images = npt.NDArray[np.uint8]
Predictions = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Order:
    """What every process of one measurement is given.

    images, labels: frames of the training split. unlabelled: (N, H, W, C), sent once the process has trained.
    """

    images: bytes
    labels: bytes
    unlabelled: Images
    classes: int
    device: str
    limits: Limits
    rules: Rules
    isolation: Isolation


@dataclass
class Ran:
    """What a process cost, filled while it runs so that one that fails is booked as well.

    start: until it was ready, before it saw any source. train: from the source to TRAINED. whole: from the source to
    the end. Wall-clock seconds stop with the predictions; CPU seconds are those of the whole tree.
    """

    start: tuple[float, float] = (0.0, 0.0)
    train: tuple[float, float] = (0.0, 0.0)
    whole: tuple[float, float] = (0.0, 0.0)
    log: bytes = b""


def pack_images(images: Images) -> bytes:
    """An IMAGES frame: four u32 of shape, then the pixels."""
    return struct.pack("<4I", *images.shape) + images.tobytes()


def unpack_predictions(raw: bytes, rows: int, classes: int) -> Predictions:
    """A PREDICTIONS frame -> (rows, classes). Raises Verdict for another shape and for what is not finite."""
    found = struct.unpack_from("<2I", raw) if len(raw) >= 8 else ()
    if found != (rows, classes) or len(raw) != 8 + 4 * rows * classes:
        raise Verdict(Label.INVALID_RESULT, f"predictions of shape {found}, expected {(rows, classes)}")
    predictions = np.frombuffer(raw, dtype="<f4", offset=8).reshape(rows, classes)
    wrong = int(np.count_nonzero(~np.isfinite(predictions)))
    if wrong:
        reason = f"{wrong} of {predictions.size} predictions are not finite"
        raise Verdict(Label.INVALID_RESULT, reason, {"not_finite": wrong})
    return predictions


#: What goes on beside a process from before its clock starts until its predictions have arrived.
Beside = Callable[[Confined], AbstractContextManager[None]]


def alone(_confined: Confined) -> AbstractContextManager[None]:
    """Nothing beside it."""
    return nullcontext()


def confine(order: Order, bounds: Bounds) -> Confined:
    """A fresh sandbox for one process, with the device of the order; every process of a measurement starts here."""
    return spawn(order.isolation, placement.on_devices(bounds), argv=())


def run(
    order: Order, source: bytes, seed: int, watch: Callable[[], None], ran: Ran, beside: Beside = alone
) -> Predictions:
    """Train and predict in a fresh sandbox; predictions in the order of ``order.unlabelled``.

    Raises Verdict for what the recipe did, HarnessFault and SandboxUnavailable for our own, and what ``watch`` raises.
    """
    limits, rules = order.limits, order.rules
    longest = START_SECONDS + limits.train_seconds + limits.eval_seconds
    # The phases' own allowances end a process first; these bound what is left behind.
    most = START_SECONDS + rules.train_cpu_seconds + rules.eval_cpu_seconds
    bounds = Bounds(longest, most, limits.memory_bytes, SCRATCH_BYTES, processes=limits.processes)
    with confine(order, bounds) as confined:
        wire = Wire(confined, lambda _units: watch())
        hear_ready(order, wire, confined, seed)
        ran.start = wire.clocks()
        conversation = _Conversation(order, wire, confined, ran, beside)
        try:
            predictions = conversation.hold(source)
        finally:
            conversation.end()
    return predictions


def hear_ready(order: Order, wire: Wire, confined: Confined, seed: int, *, beside: bool = False) -> None:
    """Settings out, READY back. Raises HarnessFault: no recipe is involved yet."""
    rules = order.rules
    longest = min(order.limits.train_seconds, rules.process_seconds)
    settings = {
        "protocol": "speed",
        "seed": seed,
        "device": order.device,
        "threads": 1,
        "clock": rules.clock,
        "units": round(1000 * (rules.train_cpu_seconds if rules.clock == "cpu" else longest)),  # milliseconds of it
        "seconds": longest,
        "classes": order.classes,
        "beside": beside,
    }
    try:
        wire.start_clock(START_SECONDS)
        wire.send(Kind.SETTINGS, json.dumps(settings).encode())
        wire.receive({Kind.READY: 0})
    except WireError as error:
        raise not_ready(error, confined.log()) from error


class _Conversation:
    """The part of a process's life that is on the clock."""

    def __init__(self, order: Order, wire: Wire, confined: Confined, ran: Ran, beside: Beside) -> None:
        self.order, self.wire, self.confined, self.ran, self.beside = order, wire, confined, ran, beside
        self.phase: Phase = "train"
        self._start_clock()

    def _start_clock(self) -> None:
        self.cpu_before, self.began = self.confined.cpu_seconds(), time.monotonic()

    def hold(self, source: bytes) -> Predictions:
        """Raises Verdict, or what the watch raises."""
        with self.beside(self.confined):
            self._start_clock()
            return self._talk(source)

    def _talk(self, source: bytes) -> Predictions:
        limits, rules, wire = self.order.limits, self.order.rules, self.wire
        try:
            wire.start_clock(min(limits.train_seconds, rules.process_seconds), cpu_floor=rules.train_cpu_seconds)
            wire.send(Kind.SOURCE, source)
            wire.send(Kind.IMAGES, self.order.images)
            wire.send(Kind.LABELS, self.order.labels)
            self._answer(Kind.TRAINED, 0)
            self.ran.train = wire.clocks()
            self.ran.log = self.confined.log()  # later the process has seen held-out images
            self.phase = "predict"
            left = min(limits.eval_seconds, rules.process_seconds - self.ran.train[0])
            wire.start_clock(left, cpu_floor=rules.eval_cpu_seconds)
            return self._predictions()
        except WireError as error:
            raise of_wire(error, self.phase, None) from error

    def _predictions(self) -> Predictions:
        """Send the images in an order that nobody could know, so that answers by position are worth nothing."""
        unlabelled, classes = self.order.unlabelled, self.order.classes
        rows = len(unlabelled)
        shuffled = np.random.default_rng(secrets.randbits(128)).permutation(rows)
        self.wire.send(Kind.IMAGES, pack_images(unlabelled[shuffled]))
        answer = unpack_predictions(self._answer(Kind.PREDICTIONS, 8 + 4 * rows * classes), rows, classes)
        self.ran.whole = (time.monotonic() - self.began, 0.0)
        predictions = np.empty_like(answer)
        predictions[shuffled] = answer
        return predictions

    def _answer(self, expected: Kind, cap: int) -> bytes:
        kind, payload = self.wire.receive({expected: cap})
        if kind is Kind.FAILED:
            _, cpu = self.wire.clocks()
            raise of_failure(payload, self.phase, 0, cpu)
        self.wire.check()
        return payload

    def end(self) -> None:
        """End the tree, then read what all of it has used. Raises HarnessFault when that cannot be known."""
        wall = self.ran.whole[0] or time.monotonic() - self.began
        if self.phase == "train":
            self.ran.train, self.ran.log = self.wire.clocks(), self.confined.log()
        self.confined.kill()
        ended = self.confined.wait(END_SECONDS)
        if ended is None or ended.cause == "fault":
            raise HarnessFault("the sandbox did not end as it should, so its CPU time is not known")
        self.ran.whole = (wall, ended.cpu_seconds - self.cpu_before)
