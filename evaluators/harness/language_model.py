"""Bits per byte of held-out text: the scorer of Parameter Golf.

The predict process scores every chunk; the causality probe is a second fresh process that cannot tell that it is not
the first.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import numpy as np

from evaluators.child.frames import Kind
from evaluators.contract import Measurement
from evaluators.harness import scoring
from evaluators.harness.conversation import Conversation, Order, not_causal
from evaluators.harness.projection import project

KEPT_BYTES = 96 << 20
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
            texts = self.train(room, [(text,) for text in self.held_out])
            self.pool = np.concatenate(texts)
            self.chunks = scoring.chunks_of(texts, int(self.number("rows")), int(self.number("row_tokens")))
            seen = self.predict()
            self.probe(seen)
            self.record.cpu_seconds["reference"] = round(self.yardstick.cpu_seconds(), 3)
        total = sum(float(seen.picked[i][chunk.counted].sum()) for i, chunk in enumerate(self.chunks))
        return scoring.bits_per_byte(total, sum(map(len, self.held_out)))

    def predict(self) -> _Seen:
        """Score every chunk; only then may the predictor learn from it."""
        seen = _Seen()
        with self.predictor("predict") as (wire, seen.adapts):
            kept = self._chunks_to_probe(seen.adapts)
            for index, chunk in enumerate(self.chunks):
                logits = self.logits(wire, chunk.tokens)
                seen.picked.append(self.log_probabilities(logits, chunk.tokens, index))
                if index in kept:
                    seen.logits[index] = logits
                if seen.adapts:
                    wire.send(Kind.ADAPT)
                    self.answer(wire, Kind.ADAPTED, 0)
        return seen

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
                    again = self.log_probabilities(self.logits(wire, chunk.tokens), chunk.tokens, index)
                    move, row, position = scoring.largest_difference(seen.picked[index], again)
                else:
                    gain = scoring.gains(seen.picked[index], chunk.tokens, self.pool)
                    other = scoring.scramble(chunk, self.pool, draw, gain)
                    answered = self.finite(self.logits(wire, other.tokens), index)
                    move, row, position = scoring.largest_move(kept, answered, other.cuts)
                if not move <= LARGEST_MOVE:
                    what = "its future was replaced" if kept is not None else "it was asked for again"
                    raise not_causal(move, what, {"chunk": index, "row": row, "position": position})
                largest = max(largest, move)
                if seen.adapts:
                    if kept is not None:
                        break
                    wire.send(Kind.ADAPT)
                    self.answer(wire, Kind.ADAPTED, 0)
        self.record.numbers["largest_move"] = largest
