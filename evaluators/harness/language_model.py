"""Bits per byte of held-out text: the scorer of Parameter Golf.

The predict process scores every chunk; the causality probe is a second fresh process that cannot tell that it is not
the first.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluators.child.frames import Kind
from evaluators.contract import Measurement
from evaluators.harness import scoring
from evaluators.harness.conversation import Conversation, not_causal
from evaluators.harness.order import Order
from evaluators.harness.projection import project
from evaluators.harness.wire import Wire

KEPT_BYTES = 96 << 20
PACK_BYTES = 1 << 20
LARGEST_MOVE = 1e-4


@dataclass
class _Seen:
    """What the predict process answered: log-probabilities of all tokens, and whole logits of the chunks to probe."""

    adapts: bool = False
    picked: list[scoring.Floats] = field(default_factory=list)
    logits: dict[int, scoring.Logits] = field(default_factory=dict)


def measure(order: Order, held_out: tuple[bytes, ...]) -> Measurement:
    """Train, predict, probe; the score is bits per byte of ``held_out``.

    Raises HarnessFault for faults of the evaluator or its host, and what ``report`` raises (Cancelled).
    """
    return _Trial(order, held_out).measurement()


def packs_of(texts: Sequence[bytes]) -> list[list[bytes]]:
    """Texts in order, gathered into packs of about PACK_BYTES: one request for each."""
    packs: list[list[bytes]] = [[]]
    for text in texts:
        if packs[-1] and sum(map(len, packs[-1])) + len(text) > PACK_BYTES:
            packs.append([])
        packs[-1].append(text)
    return packs


class _Trial(Conversation):
    """One measurement under way."""

    def __init__(self, order: Order, held_out: tuple[bytes, ...]) -> None:
        super().__init__(order)
        self.held_out = held_out
        self.chunks: list[scoring.Chunk] = []
        self.pool = np.empty(0, dtype=np.int32)

    def run(self) -> float:
        """The score in bits per byte. Raises Verdict."""
        room = self.room()
        with self.yardstick:
            project(self)
            texts = self.train(room, packs_of(self.held_out))
            self.pool = np.concatenate(texts)
            self.chunks = self._chunks(texts)
            seen = self.predict()
            self.probe(seen)
        self.record.cpu_seconds["reference"] = round(self.yardstick.cpu_seconds(), 3)
        total = sum(float(seen.picked[i][chunk.counted].sum()) for i, chunk in enumerate(self.chunks))
        return scoring.bits_per_byte(total, sum(map(len, self.held_out)))

    def _chunks(self, texts: list[scoring.Tokens]) -> list[scoring.Chunk]:
        """Requests of as many rows as the profile wants and as fit into its ``chunk_bytes`` of logits."""
        rows, length = int(self.number("rows")), int(self.number("row_tokens"))
        row_bytes = 4 * length * len(self.vocabulary)
        most = int(self.setting("chunk_bytes", rows * row_bytes)) // row_bytes
        return scoring.chunks_of(texts, max(1, min(rows, most)), length, fitted=self.limits.wallclock)

    def predict(self) -> _Seen:
        """Score every chunk; only then may the predictor learn from it."""
        seen = _Seen()
        with self.predictor("predict") as (wire, seen.adapts):
            kept = self._chunks_to_probe()
            for index, chunk in enumerate(self.chunks):
                logits = self.logits(wire, chunk.tokens)
                seen.picked.append(self.log_probabilities(wire, logits, chunk.tokens, index))
                if index in kept:
                    seen.logits[index] = logits if self.scorer is None else logits.copy()
                if seen.adapts:
                    wire.send(Kind.ADAPT)
                    self.answer(wire, Kind.ADAPTED, 0)
        return seen

    def _chunks_to_probe(self) -> set[int]:
        """Chunks whose logits are kept for comparison, unknown to the recipe.

        As many as fit into the profile's ``kept_bytes``.
        """
        order = secrets.SystemRandom().sample(range(len(self.chunks)), len(self.chunks))
        each = 4 * self.chunks[0].tokens.size * len(self.vocabulary)
        return set(order[: max(1, int(self.setting("kept_bytes", KEPT_BYTES)) // each)])

    def _asked_again(self, seen: _Seen) -> list[int]:
        """Chunks that the second process is asked for: all, or those that are kept and a share of the others."""
        share, count = self.setting("probed_share", 1.0), len(self.chunks)
        if seen.adapts or share >= 1:
            return list(range(count))
        drawn = secrets.SystemRandom().sample(range(count), math.ceil(share * count))
        return sorted({*drawn, *seen.logits})

    def probe(self, seen: _Seen) -> None:
        """The same requests to a fresh process, with scrambled futures in kept chunks. Raises Verdict if it peeked.

        A predictor that learns is asked aside with the scrambled future, then for the chunk as it is, which it learns
        from as it did before. That it can tell the two processes apart then helps nobody: what it said of a chunk has
        to be said again before it is told how that chunk goes on.
        """
        draw = np.random.default_rng(secrets.randbits(128))
        largest = 0.0
        with self.predictor("probe", spare=2 if seen.adapts else 1) as (wire, _):
            for index in self._asked_again(seen):
                if index in seen.logits:
                    largest = max(largest, self._with_another_future(wire, seen, index, draw))
                if index not in seen.logits or seen.adapts:
                    largest = max(largest, self._once_more(wire, seen, index))
                if seen.adapts:
                    wire.send(Kind.ADAPT)
                    self.answer(wire, Kind.ADAPTED, 0)
            self.yardstick.dismiss()
        self.record.numbers["largest_move"] = largest

    def _with_another_future(self, wire: Wire, seen: _Seen, index: int, draw: np.random.Generator) -> float:
        """The largest change of a prediction, in nats, when what comes behind it is replaced. Raises Verdict."""
        chunk = self.chunks[index]
        gain = scoring.gains(seen.picked[index], chunk.tokens, self.pool)
        other = scoring.scramble(chunk, self.pool, draw, gain)
        logits = self.logits(wire, other.tokens, Kind.ASIDE if seen.adapts else Kind.CHUNK)
        move, row, position = scoring.largest_move(seen.logits[index], self.finite(logits, index), other.cuts)
        return _within(move, "its future was replaced", {"chunk": index, "row": row, "position": position})

    def _once_more(self, wire: Wire, seen: _Seen, index: int) -> float:
        """The largest change of a prediction, in nats, when the same is asked again. Raises Verdict."""
        chunk = self.chunks[index]
        again = self.log_probabilities(wire, self.logits(wire, chunk.tokens), chunk.tokens, index)
        move, row, position = scoring.largest_difference(seen.picked[index], again)
        return _within(move, "it was asked for again", {"chunk": index, "row": row, "position": position})


def _within(move: float, what: str, where: Mapping[str, int]) -> float:
    """The move, when it is small enough to be rounding. Raises Verdict."""
    if not move <= LARGEST_MOVE:
        raise not_causal(move, what, where)
    return move
