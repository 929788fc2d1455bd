"""Measuring a language-model recipe: train sandbox -> artifact -> predict sandbox -> probe sandbox, scored here.

The recipe reports nothing that counts. The artifact is bytes that were hashed and counted; predictions are logits that
this process turns into bits; the causality probe is a second fresh process that cannot tell that it is not the first.
"""

from __future__ import annotations

import json
import lzma
import math
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from evaluators.child.frames import FrameError, Kind, pack_files, pack_texts, unpack_texts
from evaluators.contract import HarnessFault, Measurement, Profile, Progress
from evaluators.harness import scoring
from evaluators.harness.identity import fingerprint
from evaluators.harness.verdicts import Phase, Verdict, of_failure, of_wire
from evaluators.harness.wire import Wire, WireError, not_ready
from evaluators.harness.yardstick import Yardstick
from evaluators.sandbox import Bounds, Confined, Isolation, SandboxUnavailable, spawn
from trials.vocab import Label

START_SECONDS = 120.0
SCRATCH_BYTES = 64 << 20
MOST_TOKENS = 8192
VOCABULARY_BYTES = 1 << 20
KEPT_BYTES = 96 << 20
LARGEST_MOVE = 1e-4


@dataclass(frozen=True)
class Task:
    """What a recipe is measured on. ``train`` is handed to it; ``held_out`` is spelt and scored.

    data_sha256: split -> hash of its packed texts; evaluator_sha256: hash of the code that measures.
    """

    train: tuple[bytes, ...]
    held_out: tuple[bytes, ...]
    data_sha256: Mapping[str, str]
    evaluator_sha256: str


@dataclass
class _Record:
    """What is known so far about one measurement."""

    code_bytes: int
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, float | int | str] = field(default_factory=dict)
    payload_bytes: int | None = None
    artifact_sha256: str = ""
    train_units: int | None = None
    eval_units: int | None = None
    log: bytes = b""


@dataclass
class _Seen:
    """What the predict process answered: log-probabilities of all tokens, and whole logits of the chunks to probe."""

    adapts: bool = False
    picked: list[scoring.Floats] = field(default_factory=list)
    logits: dict[int, scoring.Logits] = field(default_factory=dict)


def count_code(source: Mapping[str, bytes]) -> int:
    """Bytes that the recipe's own files cost: their canonical packing under LZMA."""
    return len(lzma.compress(pack_files(source), lzma.FORMAT_ALONE, preset=9))


def measure(
    task: Task,
    profile: Profile,
    source: Mapping[str, bytes],
    *,
    seed: int,
    split: str,
    isolation: Isolation,
    report: Callable[[Progress], None],
) -> Measurement:
    """Train, predict, probe. Anything that a recipe does ends as a Measurement with the status that it deserves.

    Raises HarnessFault for faults of the evaluator or its host, and what ``report`` raises (Cancelled).
    """
    trial = _Trial(task, profile, source, seed, isolation, report)
    status, reason, excerpt, score = "ok", "", "", None
    try:
        score = trial.run()
    except Verdict as verdict:
        status, reason, excerpt = str(verdict.status), verdict.reason, verdict.excerpt
        trial.record.numbers.update(verdict.numbers)
    except SandboxUnavailable as error:
        raise HarnessFault(str(error)) from error
    return Measurement(
        status=status,
        reason=reason,
        seed=seed,
        split=split,
        score=score,
        isolation=isolation.to_json(),
        fingerprint=fingerprint(),
        evaluator_sha256=task.evaluator_sha256,
        data_sha256=task.data_sha256,
        excerpt=excerpt,
        **vars(trial.record),
    )


class _Trial:
    """One measurement under way."""

    def __init__(
        self,
        task: Task,
        profile: Profile,
        source: Mapping[str, bytes],
        seed: int,
        isolation: Isolation,
        report: Callable[[Progress], None],
    ) -> None:
        self.task, self.limits, self.settings = task, profile.limits, profile.settings
        self.device, self.packed = profile.device, pack_files(source)
        self.seed, self.isolation, self._report = seed, isolation, report
        self.record = _Record(code_bytes=count_code(source))
        self.record.numbers["load_average"] = round(os.getloadavg()[0], 2)
        self.longest = START_SECONDS + self.limits.train_seconds + self.limits.eval_seconds
        self.yardstick = Yardstick(isolation, self.limits.memory_bytes, 3 * self.longest)
        self.phase: Phase = "train"
        self._told = 0.0
        self.spelling_units = 0
        self.artifact = b""
        self.vocabulary: list[bytes] = []
        self.chunks: list[scoring.Chunk] = []
        self.pool = np.empty(0, dtype=np.int32)

    def run(self) -> float:
        """The score in bits per byte. Raises Verdict."""
        assert self.limits.artifact_bytes is not None
        room = self.limits.artifact_bytes - self.record.code_bytes
        if room < 0:
            raise Verdict(
                Label.SIZE_BLOCKED, f"the recipe's files alone are {-room:,} bytes over", {"bytes_over": -room}
            )
        with self.yardstick:
            texts = self.train(room)
            self.pool = np.concatenate(texts)
            self.chunks = scoring.chunks_of(texts, self.number("rows"), self.number("row_tokens"))
            seen = self.predict()
            self.probe(seen)
        total = sum(float(seen.picked[i][chunk.counted].sum()) for i, chunk in enumerate(self.chunks))
        return scoring.bits_per_byte(total, sum(map(len, self.task.held_out)))

    def number(self, name: str) -> int:
        return int(str(self.settings[name]))

    def watch(self, fraction: float) -> None:
        """Called about four times a second while a recipe works."""
        self.yardstick.tick()
        self.tell(fraction)

    def tell(self, fraction: float, *, now: bool = False) -> None:
        """Report progress a few times a second at most."""
        if now or time.monotonic() - self._told >= 0.25:
            self._told = time.monotonic()
            self._report(Progress(self.phase, min(1.0, max(0.0, fraction))))

    @contextmanager
    def process(self, phase: Phase, budget: int | None, seconds: float) -> Iterator[tuple[Wire, Confined]]:
        """A fresh sandbox whose runner has been sent the recipe; what breaks off becomes a verdict."""
        self.phase = phase
        assert budget is not None
        bounds = Bounds(self.longest, 2 * self.longest, self.limits.memory_bytes, SCRATCH_BYTES)
        self.tell(0.0, now=True)
        with spawn(self.isolation, bounds, argv=()) as confined:
            wire = Wire(confined, lambda units: self.watch(units / budget))
            self._hear_ready(wire, confined, budget, seconds)
            try:
                self.start_clock(wire, seconds)
                wire.send(Kind.SOURCE, self.packed)
                yield wire, confined
            except WireError as error:
                limit = self.limits.train_units if self.phase == "train" else self.limits.eval_units
                raise of_wire(error, self.phase, limit) from error
            finally:
                self.stop_clock(wire)
                if self.phase == "train":
                    self.record.log = confined.log()

    def _hear_ready(self, wire: Wire, confined: Confined, budget: int, seconds: float) -> None:
        """Settings out, a sign of life back. Raises HarnessFault: no recipe is involved yet."""
        settings = {
            "protocol": "language_model",
            "phase": "train" if self.phase == "train" else "predict",
            "seed": self.seed,
            "device": self.device,
            "threads": 1,
            "units": budget,
            "eval_units": self.limits.eval_units,
            "unit_tolerance": self.limits.unit_tolerance,
            "units_before": self.spelling_units,
            "seconds": seconds,
        }
        try:
            wire.start_clock(START_SECONDS)
            wire.send(Kind.SETTINGS, json.dumps(settings).encode())
            wire.receive({Kind.READY: 0})
        except WireError as error:
            raise not_ready(error, confined.log()) from error
        wall, cpu = wire.clocks()
        self.record.seconds[f"{self.phase}_start"] = round(wall, 3)
        self.record.cpu_seconds[f"{self.phase}_start"] = round(cpu, 3)

    def start_clock(self, wire: Wire, seconds: float) -> None:
        """Begin a phase: what the units cost the paired reference meanwhile bounds what they may cost the recipe."""
        factor = float(str(self.settings["cpu_factor"]))
        self.yardstick.begin()
        wire.start_clock(
            seconds,
            cpu_floor=float(str(self.settings["free_cpu_seconds"])),
            cpu_per_unit=lambda: factor * self.yardstick.cost(),
        )

    def stop_clock(self, wire: Wire) -> None:
        """Book the phase that ends."""
        wall, cpu = wire.clocks()
        self.record.seconds[self.phase] = round(wall, 3)
        self.record.cpu_seconds[self.phase] = round(cpu, 3)
        if self.phase == "train":
            self.record.train_units = wire.units
            self.record.numbers["reference_seconds_per_gigaunit"] = round(self.yardstick.cost() * 1e9, 6)
        elif self.phase != "probe":
            self.record.eval_units = wire.units

    def answer(self, wire: Wire, expected: Kind, cap: int) -> bytes:
        """The answer to a request. Raises Verdict for a recipe that failed, WireError for one that broke off."""
        kind, payload = wire.receive({expected: cap})
        if kind is Kind.FAILED:
            raise of_failure(payload, self.phase, wire.units)
        wire.check()
        return payload

    def train(self, room: int) -> list[scoring.Tokens]:
        """Train; take the artifact; then let the same process spell the held-out texts. Returns their tokens.

        Spelling happens here because the process that predicts must never have seen the text as a whole, and this one
        can no longer change anything: its artifact has left.
        """
        limits = self.limits
        with self.process("train", limits.train_units, limits.train_seconds) as (wire, confined):
            wire.send(Kind.DOCUMENTS, pack_texts(self.task.train))
            self.artifact = self.answer(wire, Kind.TRAINED, room)
            self.stop_clock(wire)
            self.record.log = confined.log()
            self.record.payload_bytes = len(self.artifact)
            self.record.artifact_sha256 = sha256(self.packed + self.artifact).hexdigest()
            self.phase = "spell"
            self.start_clock(wire, limits.eval_seconds)
            wire.send(Kind.LOAD)
            self.vocabulary = _vocabulary(self.answer(wire, Kind.VOCABULARY, VOCABULARY_BYTES))
            return [self._spell(wire, text) for text in self.task.held_out]

    def _spell(self, wire: Wire, text: bytes) -> scoring.Tokens:
        wire.send(Kind.ENCODE, text)
        raw = self.answer(wire, Kind.TOKENS, 8 * len(text))
        tokens = np.frombuffer(raw, dtype="<i4").astype(np.int32) if len(raw) % 4 == 0 else np.empty(0, np.int32)
        wrong = scoring.spells(tokens, self.vocabulary, text)
        if wrong >= 0:
            reason = f"encode() does not spell the text: first wrong byte {wrong} of {len(text)}"
            raise Verdict(Label.INVALID_RESULT, reason, {"position": wrong})
        self.spelling_units = wire.units
        return tokens

    @contextmanager
    def predictor(self, phase: Phase) -> Iterator[tuple[Wire, bool]]:
        """A fresh process that has loaded the artifact; and whether it adapts. Its clock has been running."""
        with self.process(phase, self.limits.eval_units, self.limits.eval_seconds) as (wire, _):
            wire.send(Kind.ARTIFACT, self.artifact)
            yield wire, self.answer(wire, Kind.LOADED, 1) == b"\x01"

    def logits(self, wire: Wire, tokens: scoring.Tokens) -> scoring.Logits:
        """Ask for the logits of a chunk (B, T) -> (B, T, V). Raises Verdict."""
        rows, length = tokens.shape
        shape = (rows, length, len(self.vocabulary))
        wire.send(Kind.CHUNK, struct.pack("<2I", rows, length) + tokens.astype("<i4").tobytes())
        raw = self.answer(wire, Kind.LOGITS, 12 + 4 * math.prod(shape))
        found = struct.unpack_from("<3I", raw) if len(raw) >= 12 else ()
        if found != shape or len(raw) != 12 + 4 * math.prod(shape):
            raise Verdict(Label.INVALID_RESULT, f"logits of shape {found}, expected {shape}")
        return np.frombuffer(raw, dtype="<f4", offset=12).reshape(shape)

    def predict(self) -> _Seen:
        """Score every chunk; only then may the predictor learn from it."""
        seen = _Seen()
        with self.predictor("predict") as (wire, seen.adapts):
            kept = self._chunks_to_probe(seen.adapts)
            for index, chunk in enumerate(self.chunks):
                logits = self.logits(wire, chunk.tokens)
                seen.picked.append(self._log_probabilities(logits, chunk, index))
                if index in kept:
                    seen.logits[index] = logits
                if seen.adapts:
                    wire.send(Kind.ADAPT)
                    self.answer(wire, Kind.ADAPTED, 0)
        return seen

    def _log_probabilities(self, logits: scoring.Logits, chunk: scoring.Chunk, index: int) -> scoring.Floats:
        try:
            return scoring.log_probabilities(logits, chunk.tokens)
        except scoring.NotADistribution as error:
            raise Verdict(Label.INVALID_RESULT, f"{error} of chunk {index}", {"chunk": index}) from error

    def _chunks_to_probe(self, adapts: bool) -> set[int]:
        """Chunks whose logits are kept for comparison, unknown to the recipe.

        One when the predictor learns: behind it the two processes would have learnt different things. Otherwise as many
        as fit into KEPT_BYTES.
        """
        order = secrets.SystemRandom().sample(range(len(self.chunks)), len(self.chunks))
        each = 4 * self.chunks[0].tokens.size * len(self.vocabulary)
        return set(order[: 1 if adapts else max(1, KEPT_BYTES // each)])

    def probe(self, seen: _Seen) -> None:
        """The same requests to a fresh process, with scrambled futures in kept chunks. Raises Verdict if it peeked."""
        draw = np.random.default_rng(secrets.randbits(128))
        largest = 0.0
        with self.predictor("probe") as (wire, _):
            for index, chunk in enumerate(self.chunks):
                kept = seen.logits.get(index)
                if kept is None:
                    again = self._log_probabilities(self.logits(wire, chunk.tokens), chunk, index)
                    move, row, position = scoring.largest_difference(seen.picked[index], again)
                else:
                    other = scoring.scramble(chunk, self.pool, draw)
                    move, row, position = scoring.largest_move(kept, self.logits(wire, other.tokens), other.cuts)
                if not move <= LARGEST_MOVE:
                    what = "its future was replaced" if kept is not None else "it was asked for again"
                    reason = f"not causal: a prediction moved by {move:.4g} nats when {what}"
                    where: dict[str, float | int | str] = {
                        "chunk": index,
                        "row": row,
                        "position": position,
                        "largest_move": move,
                    }
                    raise Verdict(Label.INVALID_RESULT, reason, where)
                largest = max(largest, move)
                if seen.adapts:
                    if kept is not None:
                        break
                    wire.send(Kind.ADAPT)
                    self.answer(wire, Kind.ADAPTED, 0)
        self.record.numbers["largest_move"] = largest


def _vocabulary(packed: bytes) -> list[bytes]:
    """What each token spells. Raises Verdict when there are none or too many."""
    try:
        tokens = unpack_texts(packed)
    except FrameError as error:
        raise Verdict(Label.CRASH, f"protocol: {error}") from error
    if not 1 <= len(tokens) <= MOST_TOKENS:
        raise Verdict(Label.INVALID_RESULT, f"a vocabulary of {len(tokens)} tokens, expected 1 to {MOST_TOKENS}")
    return tokens
