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
from evaluators.harness.conversation import Conversation
from evaluators.harness.order import Order
from evaluators.harness.projection import project
from evaluators.harness.verdicts import not_causal
from evaluators.harness.wire import Wire

PACK_BYTES = 1 << 20
LARGEST_MOVE = 1e-4
#: Chunks that are probed at least, where a profile does not want all.
FEWEST_PROBED = 8


class _Projection(Conversation):
    """Only the size of a recipe, nothing is scored."""

    def run(self) -> float:
        self.room()
        with self.yardstick:
            project(self)
        return math.nan


@dataclass
class _Seen:
    """What the predict process answered: whether it learns, and log-probabilities of all tokens, chunk by chunk."""

    adapts: bool = False
    picked: list[scoring.Floats] = field(default_factory=list)


def measure(order: Order, held_out: tuple[bytes, ...]) -> Measurement:
    """Train, predict, probe; the score is bits per byte of ``held_out``.

    Raises HarnessFault for faults of the evaluator or its host, and what ``report`` raises (Cancelled).
    """
    return _Trial(order, held_out).measurement()


def project_size(order: Order) -> Measurement:
    """A few steps, packed: ``numbers["projected_bytes"]``; ``size_blocked`` where it lies beyond cap and error.

    Raises HarnessFault for faults of the evaluator or its host.
    """
    return _Projection(order).measurement()


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
            for index, chunk in enumerate(self.chunks):
                logits = self.logits(wire, chunk.tokens)
                seen.picked.append(self.log_probabilities(wire, logits, chunk.tokens, index))
                if seen.adapts:
                    wire.send(Kind.ADAPT)
                    self.answer(wire, Kind.ADAPTED, 0)
        return seen

    def _probed(self) -> set[int]:
        """Chunks whose future is replaced, unknown to the recipe: all, or the profile's share of them.

        No size of the recipe's choosing comes in here: a vocabulary filled up with words that never occur would
        otherwise make the probe small.
        """
        count = len(self.chunks)
        wanted = math.ceil(self.setting("probed_share", 1.0) * count)
        return set(secrets.SystemRandom().sample(range(count), min(count, max(FEWEST_PROBED, wanted))))

    def probe(self, seen: _Seen) -> None:
        """The same requests to a fresh process, with scrambled futures in probed chunks. Raises Verdict if it peeked.

        A predictor that learns is asked aside with the scrambled future, then for the chunk as it is, which it learns
        from as it did before. That it can tell the two processes apart then helps nobody: what it said of a chunk has
        to be said again before it is told how that chunk goes on.
        """
        draw = np.random.default_rng(secrets.randbits(128))
        probed, largest = self._probed(), 0.0
        with self.predictor("probe", spare=2 if seen.adapts else 1) as (wire, _):
            for index in range(len(self.chunks)):
                if index in probed:
                    largest = max(largest, self._with_another_future(wire, seen, index, draw))
                if seen.adapts:
                    largest = max(largest, self._once_more(wire, seen, index))
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
        # Of the tokens that were scored: whoever gains by looking at one has said more of it than he now can.
        blind = self.log_probabilities(wire, logits, chunk.tokens, index)
        move, row, position = scoring.largest_move(seen.picked[index], blind, other.cuts)
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
