"""The three parties of a language-model measurement: train sandbox -> artifact -> fresh predict sandboxes, scored here.

What every scorer shares: processes, frames, clocks, verdicts. The recipe reports nothing that counts. The artifact is
bytes that were hashed and counted; predictions are logits that this process turns into figures.
"""

from __future__ import annotations

import json
import math
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np

from evaluators.child.frames import FrameError, Kind, pack_files, pack_texts, unpack_texts
from evaluators.contract import HarnessFault, Measurement, Progress
from evaluators.harness import placement, scoring
from evaluators.harness.device_scorer import DeviceScorer, device_scorer
from evaluators.harness.identity import fingerprint
from evaluators.harness.order import Order, Record, count_code
from evaluators.harness.shelf import Shelf
from evaluators.harness.standby import Standby
from evaluators.harness.verdicts import TRAINING, Phase, Verdict, in_chunk, of_failure, of_wire, over_wallclock
from evaluators.harness.wire import Late, Wire, WireError, not_ready
from evaluators.harness.yardstick import Unpaired, Yardstick
from evaluators.sandbox import Bounds, Confined, SandboxUnavailable
from trials.vocab import Label

START_SECONDS = 120.0
SCRATCH_BYTES = 64 << 20
MOST_TOKENS = 8192
LOGITS_HEAD = struct.Struct("<3I")
VOCABULARY_BYTES = 4 << 20
LAST: Phase = "probe"


class Conversation:
    """One measurement under way. A scorer derives from it and says in ``run`` what is asked and what it is worth."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.limits, self.settings = order.profile.limits, order.profile.settings
        self.packed = pack_files(order.source)
        self.record = Record(code_bytes=count_code(order.source))
        self.record.numbers["load_average"] = round(os.getloadavg()[0], 2)
        self.longest = START_SECONDS + self.limits.train_seconds + self.limits.eval_seconds
        self.yardstick = self._paired()
        self.scorer = self._scorer()
        self.standby = Standby(order.isolation, self._bounds())
        self.phase: Phase = "train"
        self._told = 0.0
        self._printed: Callable[[], bytes] = bytes
        self.spelling_units, self.spelling_seconds = 0, 0.0
        self.artifact = b""
        self.vocabulary: list[bytes] = []

    def run(self) -> float:
        """The score. Raises Verdict."""
        raise NotImplementedError

    def _paired(self) -> Yardstick | Unpaired:
        """The reference beside the recipe; none where an exclusive device's seconds are the budget."""
        if self.limits.wallclock:
            return Unpaired()
        between = self.number("seconds_between_slices")
        return Yardstick(self.order.isolation, self.limits.memory_bytes, 3 * self.longest, between=between)

    def _scorer(self) -> DeviceScorer | None:
        """The process that does the arithmetic where the profile wants one; None: numpy, here."""
        threads = int(self.setting("scorer_threads", 0))
        return device_scorer(self.order.profile.device, placement.visible(), threads) if threads else None

    def measurement(self) -> Measurement:
        """Run. Anything that a recipe does ends as a Measurement with the status that it deserves.

        Raises HarnessFault for faults of the evaluator or its host, and what ``report`` raises (Cancelled).
        """
        status, reason, excerpt, score = "ok", "", "", None
        try:
            score = self.run()
        except Verdict as verdict:
            status, reason, excerpt = str(verdict.status), verdict.reason, verdict.excerpt
            self.record.numbers.update(verdict.numbers)
        except SandboxUnavailable as error:
            raise HarnessFault(str(error)) from error
        finally:
            self.standby.close()
        return Measurement(
            status=status,
            reason=reason,
            seed=self.order.seed,
            split=self.order.split,
            score=score,
            isolation=self.order.isolation.to_json(),
            fingerprint=fingerprint(),
            evaluator_sha256=self.order.evaluator_sha256,
            data_sha256=self.order.data_sha256,
            excerpt=excerpt,
            **vars(self.record),
        )

    def number(self, name: str) -> float:
        """A figure of the profile's settings."""
        return float(str(self.settings[name]))

    def setting(self, name: str, otherwise: float) -> float:
        """A figure that a profile may leave out."""
        return float(str(self.settings.get(name, otherwise)))

    def room(self) -> int:
        """Bytes that the artifact may have. Raises Verdict when the recipe's own files leave none."""
        cap = self.limits.artifact_bytes
        if cap is None:
            return int(self.number("largest_artifact"))
        room = cap - self.record.code_bytes
        if room < 0:
            raise Verdict(
                Label.SIZE_BLOCKED, f"the recipe's files alone are {-room:,} bytes over", {"bytes_over": -room}
            )
        return room

    def cpu_floor(self) -> float:
        """CPU seconds that the phase which begins may spend outside of counted operators."""
        return self.number("free_cpu_seconds")

    def told_seconds(self, seconds: float) -> float:
        """What the recipe reads as ``ctx.budget.seconds``: the wall-clock cap of its phase."""
        return seconds

    def fraction(self, wire: Wire, budget: int | None) -> float:
        """How far the phase is, in [0, 1]."""
        if self.limits.wallclock:
            return wire.share()
        return wire.units / budget if budget else 0.0

    def watch(self, wire: Wire, budget: int | None) -> None:
        """Called about four times a second while a recipe works; may raise a Verdict to end it."""
        self.yardstick.tick()
        self.tell(self.fraction(wire, budget))

    def tell(self, fraction: float, *, now: bool = False) -> None:
        """Report progress a few times a second at most."""
        if now or time.monotonic() - self._told >= 0.25:
            self._told = time.monotonic()
            self.order.report(Progress(self.phase, min(1.0, max(0.0, fraction)), tail=self._printed))

    @contextmanager
    def process(
        self, phase: Phase, budget: int | None, seconds: float, spare: float = 1.0
    ) -> Iterator[tuple[Wire, Confined]]:
        """A fresh sandbox whose runner has been sent the recipe; what breaks off becomes a verdict.

        The recipe is told of ``seconds``, a constant, and stopped after ``spare`` times as many.
        """
        self.phase, self._printed = phase, bytes
        shown = self.order.train.paths() if phase in TRAINING and isinstance(self.order.train, Shelf) else ()
        self.tell(0.0, now=True)
        with self._sandbox(shown) as confined:
            wire = Wire(confined, lambda _units: self.watch(wire, budget))
            if phase == "train":  # as of the log that is kept
                self._printed = confined.log_tail
            self._hear_ready(wire, confined, budget, seconds)
            try:
                self.start_clock(wire, spare * seconds)
                wire.send(Kind.SOURCE, self.packed)
                yield wire, confined
            except Late as error:
                raise self._late(wire, error, seconds) from error
            except WireError as error:
                limit = self.limits.train_units if self.phase in TRAINING else self.limits.eval_units
                raise of_wire(error, self.phase, limit) from error
            finally:
                self.stop_clock(wire)
                if self.phase == "train":
                    self.record.log = confined.log()

    @contextmanager
    def _sandbox(self, shown: Sequence[Path]) -> Iterator[Confined]:
        """A fresh sandbox; behind it nothing lives of what has run in it."""
        confined = self.standby.take(shown)
        try:
            yield confined
        finally:
            self.standby.leave(confined)

    def _bounds(self) -> Bounds:
        """Of one process, which may have waited while another worked. Where wall clock is the budget, any number of
        processors may be busy meanwhile."""
        cpu = self.longest * (self.limits.processes if self.limits.wallclock else 2)
        scratch = int(self.setting("scratch_bytes", SCRATCH_BYTES))
        bounds = Bounds(2 * self.longest, cpu, self.limits.memory_bytes, scratch, processes=self.limits.processes)
        return placement.on_devices(bounds)

    def _hear_ready(self, wire: Wire, confined: Confined, budget: int | None, seconds: float) -> None:
        """Settings out, a sign of life back. Raises HarnessFault: no recipe is involved yet."""
        settings = {
            "protocol": "language_model",
            "phase": "train" if self.phase in TRAINING else "predict",
            "seed": self.order.seed,
            "device": self.order.profile.device,
            "threads": int(self.setting("threads", 1)),
            "wallclock": self.limits.wallclock,
            "units": int(1000 * seconds) if self.limits.wallclock else budget,
            "eval_units": int(1000 * self.limits.eval_seconds) if self.limits.wallclock else self.limits.eval_units,
            "unit_tolerance": self.limits.unit_tolerance,
            "units_before": self.spelling_units,
            "seconds": self.told_seconds(seconds),
        }
        try:
            wire.start_clock(START_SECONDS)
            wire.send(Kind.SETTINGS, json.dumps(settings).encode())
            if self.phase != LAST:
                self.standby.prepare()
            wire.receive({Kind.READY: 0})
        except WireError as error:
            raise not_ready(error, confined.log()) from error
        wall, cpu = wire.clocks()
        self.record.seconds[f"{self.phase}_start"] = round(wall, 3)
        self.record.cpu_seconds[f"{self.phase}_start"] = round(cpu, 3)

    def start_clock(self, wire: Wire, seconds: float) -> None:
        """Begin a phase: what units cost the paired reference meanwhile bounds what they may cost the recipe."""
        if self.limits.wallclock:
            wire.start_clock(seconds * (1 + self.limits.unit_tolerance))
            return
        factor = self.number("cpu_factor")
        self.yardstick.begin()
        wire.start_clock(seconds, cpu_floor=self.cpu_floor(), cpu_per_unit=lambda: factor * self.yardstick.cost())

    def _late(self, wire: Wire, error: Late, seconds: float) -> Verdict:
        """The wall clock of a phase has run out: that is its budget or a safety net."""
        budget = self.limits.eval_seconds if self.phase == "spell" else seconds
        over = over_wallclock(self.phase, wire.clocks()[0], budget, self.limits.unit_tolerance)
        if over is not None and self.limits.wallclock:
            return over
        before = max(0.0, budget - error.allowed)  # an earlier phase that shares these seconds
        return of_wire(Late(error.seconds + before, error.allowed + before), self.phase, None)

    def stop_clock(self, wire: Wire) -> None:
        """Book the phase that ends; units only where there is a budget of them."""
        wall, cpu = wire.clocks()
        self.record.seconds[self.phase] = round(wall, 3)
        self.record.cpu_seconds[self.phase] = round(cpu, 3)
        if self.phase == "train":
            self.record.train_units = wire.units if self.limits.train_units is not None else None
            if known := self.yardstick.known():  # a training that is over before the first slice waits for none
                self.record.numbers["reference_seconds_per_gigaunit"] = round(known * 1e9, 6)
        elif self.phase in ("spell", "predict"):
            self.record.eval_units = wire.units if self.limits.eval_units is not None else None

    def answer(self, wire: Wire, expected: Kind, cap: int, room: memoryview | None = None) -> bytes:
        """The answer to a request. Raises Verdict for a recipe that failed, WireError for one that broke off.

        room: takes the numbers of a LOGITS answer that fills it; its head is returned then.
        """
        kind, payload = wire.receive({expected: cap}, room, LOGITS_HEAD.size)
        if kind is Kind.FAILED:
            raise of_failure(payload, self.phase, wire.units, wire.clocks()[1])
        wire.check()
        return payload

    def trained(self, wire: Wire) -> None:
        """The artifact has arrived and the clock of the training was read; may raise a Verdict."""

    def train(self, room: int, packs: Sequence[Sequence[bytes]]) -> list[scoring.Tokens]:
        """Train; take the artifact; then let the same process spell held-out texts, pack by pack. Returns their tokens.

        Spelling happens here because the process that predicts must never have seen the text as a whole, and this one
        can no longer change anything: its artifact has left.
        """
        limits = self.limits
        # What waiting in the projection took is gone: nobody can have the seconds of both.
        gone = 0.0 if limits.wallclock else self.record.seconds.get("project", 0.0)
        spare = max(0.0, 1 - gone / limits.train_seconds)
        with self.process("train", limits.train_units, limits.train_seconds, spare) as (wire, confined):
            self.hand_out(wire)
            self.artifact = self.answer(wire, Kind.TRAINED, room)
            self.stop_clock(wire)
            self.trained(wire)
            self.record.log = confined.log()
            self.record.payload_bytes = len(self.artifact)
            self.record.artifact_sha256 = sha256(self.packed + self.artifact).hexdigest()
            self.phase = "spell"
            self.start_clock(wire, limits.eval_seconds)
            wire.send(Kind.LOAD)
            most = int(self.setting("most_tokens", MOST_TOKENS))
            self.vocabulary = _vocabulary(self.answer(wire, Kind.VOCABULARY, VOCABULARY_BYTES), most)
            tokens = [found for texts in packs for found in self.spell(wire, texts)]
            self.spelling_units = 0 if self.limits.wallclock else wire.units
            self.spelling_seconds = wire.clocks()[0]
            return tokens

    def hand_out(self, wire: Wire, most: int | None = None) -> None:
        """Send the training documents; ``most``: about so many bytes of them, where they are sent and not shown."""
        documents = self.order.train
        if isinstance(documents, Shelf):
            wire.send(Kind.LIBRARY, pack_texts([documents.to_json(), *documents.vocabulary]))
            return
        share = None if most is None else max(1, most // len(documents))
        wire.send(Kind.DOCUMENTS, pack_texts([text[:share] for text in documents]))

    def spell(self, wire: Wire, texts: Sequence[bytes]) -> list[scoring.Tokens]:
        """Tokens of each text, checked to spell it. Raises Verdict."""
        wire.send(Kind.ENCODE, pack_texts(texts))
        raw = self.answer(wire, Kind.TOKENS, 4 + sum(4 + 8 * len(text) for text in texts))
        try:
            found = unpack_texts(raw)
        except FrameError as error:
            raise Verdict(Label.CRASH, f"protocol: {error}") from error
        if len(found) != len(texts):
            raise Verdict(Label.CRASH, f"protocol: tokens of {len(found)} texts, expected {len(texts)}")
        return [self._spelt(packed, text) for packed, text in zip(found, texts, strict=True)]

    def _spelt(self, raw: bytes, text: bytes) -> scoring.Tokens:
        tokens = np.frombuffer(raw, dtype="<i4").astype(np.int32) if len(raw) % 4 == 0 else np.empty(0, np.int32)
        wrong = scoring.spells(tokens, self.vocabulary, text)
        if wrong >= 0:
            reason = f"encode() does not spell the text: first wrong byte {wrong} of {len(text)}"
            raise Verdict(Label.INVALID_RESULT, reason, {"position": wrong})
        return tokens

    @contextmanager
    def predictor(self, phase: Phase, *, spare: float = 1.0) -> Iterator[tuple[Wire, bool]]:
        """A fresh process that has loaded the artifact; and whether it adapts. Its clock has been running.

        spare: times the seconds of an evaluation that it may work, where it is asked for more than is scored.

        What tokens spell has to follow from the artifact, or it would be a part of the model that nobody counts.
        Raises Verdict.
        """
        seconds = self.limits.eval_seconds
        if self.limits.wallclock:
            seconds -= self.spelling_seconds
        else:
            spare -= min(1.0, self.spelling_seconds / seconds)
        with self.process(phase, self.limits.eval_units, seconds, spare) as (wire, _):
            wire.send(Kind.ARTIFACT, self.artifact)
            said = self.answer(wire, Kind.LOADED, 1 + VOCABULARY_BYTES)
            if said[1:] != pack_texts(self.vocabulary):
                reason = "vocabulary() differs between the process that trained and one that has loaded the artifact"
                raise Verdict(Label.INVALID_RESULT, reason, {})
            yield wire, said[:1] == b"\x01"

    def logits(
        self, wire: Wire, tokens: scoring.Tokens, kind: Kind = Kind.CHUNK, first: int | None = None
    ) -> scoring.Logits:
        """Ask for the logits of a chunk (B, T) -> (B, T, V), or from position ``first`` on. Raises Verdict.

        kind: CHUNK, or ASIDE where the answer costs the recipe nothing of its budget; TAIL with ``first``.
        """
        rows, length = tokens.shape
        shape = (rows, length - (first or 0), len(self.vocabulary))
        count = math.prod(shape)
        room = memoryview(bytearray(4 * count)) if self.scorer is None else self.scorer.room(count)
        head = (rows, length) if first is None else (rows, length, first)
        wire.send(kind, struct.pack(f"<{len(head)}I", *head) + tokens.astype("<i4").tobytes())
        said = self.answer(wire, Kind.LOGITS, LOGITS_HEAD.size + 4 * count, room)
        found = LOGITS_HEAD.unpack_from(said) if len(said) >= LOGITS_HEAD.size else ()
        if found != shape or len(said) != LOGITS_HEAD.size:
            raise Verdict(Label.INVALID_RESULT, f"logits of shape {found}, expected {shape}")
        return np.frombuffer(room, dtype="<f4").reshape(shape)

    def log_probabilities(
        self, wire: Wire, logits: scoring.Logits, tokens: scoring.Tokens, index: int
    ) -> scoring.Floats:
        """Natural log-probabilities of the tokens of chunk ``index``, (B, T). Raises Verdict."""
        with in_chunk(index):
            if self.scorer is None:
                return scoring.log_probabilities(logits, tokens)
            with wire.paused():
                return self.scorer.log_probabilities(logits, tokens)

    def with_margins(
        self, wire: Wire, logits: scoring.Logits, tokens: scoring.Tokens, index: int
    ) -> tuple[scoring.Floats, scoring.Floats]:
        """The same, and how far each token's logit is above the largest of the others, (B, T). Raises Verdict."""
        with in_chunk(index):
            if self.scorer is None:
                return scoring.log_probabilities(logits, tokens), scoring.margins(logits, tokens)
            with wire.paused():
                return self.scorer.with_margins(logits, tokens)


def _vocabulary(packed: bytes, most: int) -> list[bytes]:
    """What each token spells. Raises Verdict when there are none or too many."""
    try:
        tokens = unpack_texts(packed)
    except FrameError as error:
        raise Verdict(Label.CRASH, f"protocol: {error}") from error
    if not 1 <= len(tokens) <= most:
        raise Verdict(Label.INVALID_RESULT, f"a vocabulary of {len(tokens)} tokens, expected 1 to {most}")
    return tokens
