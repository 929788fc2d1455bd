"""Centred accuracy over tasks of choices: the scorer of NanoChat-D12, with a budget of paired CPU seconds.

Every choice of every item is a row like any other; rows are shuffled and dealt out between two fresh processes, and
each also gets rows of the other with a scrambled future. No process can tell right from wrong, real from scrambled,
or whether it is the first. Log-probabilities are computed here, per byte of the choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.contract import Measurement
from evaluators.harness import scoring
from evaluators.harness.order import Order
from evaluators.harness.training_budget import BudgetedTraining
from evaluators.harness.verdicts import in_chunk, not_causal
from evaluators.harness.wire import Wire

#: Largest change of a log-probability, in nats, that is put down to the order of sums in another chunk.
LARGEST_MOVE = 1e-4
#: Choices this close, in nats per byte, are a tie: nothing that the probe may miss can decide an item.
TIE = 2e-4
#: Rows are filled up to a multiple of this many tokens, so that few shapes occur.
BUCKET = 8
PACK = 512


@dataclass(frozen=True)
class Item:
    """One question of a task: which choice continues the context. ``answer`` never leaves the evaluator."""

    task: str
    context: bytes
    choices: tuple[bytes, ...]
    answer: int


@dataclass(frozen=True)
class Row:
    """A context and one choice (or running text without context) as tokens; those from ``first`` on are counted."""

    tokens: scoring.Tokens
    first: int


@dataclass(frozen=True)
class Asked:
    """A row as it is sent: from ``end`` on its tokens may be others, so only counted ones before ``end`` are read."""

    row: int
    tokens: scoring.Tokens
    end: int
    scrambled: bool


@dataclass(frozen=True)
class Answer:
    """Log-probabilities (nats) of a row's own counted tokens before ``asked.end``."""

    asked: Asked
    picked: scoring.Floats


def measure(order: Order, items: Sequence[Item], excerpt: Sequence[bytes]) -> Measurement:
    """Train within the CPU budget, then score: the score is the mean of centred accuracies, 0 is chance and 1 is all.

    ``excerpt`` is running text for bits per byte, a second figure. Raises HarnessFault for faults of the evaluator or
    its host, and what ``report`` raises (Cancelled).
    """
    return _Trial(order, items, excerpt).measurement()


class _Trial(BudgetedTraining):
    """One measurement under way."""

    def __init__(self, order: Order, items: Sequence[Item], excerpt: Sequence[bytes]) -> None:
        super().__init__(order)
        self.items, self.excerpt = items, excerpt
        self.rows: list[Row] = []

    def run(self) -> float:
        """The score. Raises Verdict."""
        pieces = sorted({p for item in self.items for p in (item.context, *item.choices)} | set(self.excerpt))
        pieces = [pieces[i] for i in self.draw.permutation(len(pieces))]
        with self.yardstick:
            tokens = self.train(self.room(), [pieces[i : i + PACK] for i in range(0, len(pieces), PACK)])
            self.spelt = dict(zip(pieces, tokens, strict=True))
            self.rows = [
                *(self._row(item.context, choice) for item in self.items for choice in item.choices),
                *self._excerpt_rows(),
            ]
            return self._score(self._ask_all())

    # Rows and their answers

    def _row(self, context: bytes, choice: bytes) -> Row:
        """Context and choice are spelt apart, so that their seam lies between two tokens for every recipe."""
        before, behind = self.spelt[context], self.spelt[choice]
        return Row(np.concatenate((before, behind)), len(before))

    def _excerpt_rows(self) -> Iterator[Row]:
        length = int(self.number("row_tokens"))
        for text in self.excerpt:
            tokens = self.spelt[text]
            yield from (Row(tokens[at : at + length], 0) for at in range(0, len(tokens), length))

    def _deal(self) -> tuple[list[Asked], list[Asked]]:
        """Half of the rows for each process, and a share of each half again, scrambled, for the other one."""
        order = self.draw.permutation(len(self.rows)).tolist()
        half = (len(order) + 1) // 2
        pool = np.concatenate([row.tokens for row in self.rows])
        dealt: tuple[list[Asked], list[Asked]] = ([], [])
        for side, part in enumerate((order[:half], order[half:])):
            dealt[side].extend(Asked(i, self.rows[i].tokens, len(self.rows[i].tokens), False) for i in part)
            for i in part[: math.ceil(len(part) * self.number("probed_share"))]:
                dealt[1 - side].append(self._scrambled(i, pool))
        return dealt

    def _scrambled(self, number: int, pool: scoring.Tokens) -> Asked:
        """A row whose tokens from a random counted place on are replaced by text from elsewhere."""
        row = self.rows[number]
        length = len(row.tokens)
        cut = int(self.draw.integers(row.first, length))
        tokens, begin = row.tokens.copy(), int(self.draw.integers(0, len(pool)))
        tokens[cut:] = np.take(pool, np.arange(begin, begin + length - cut), mode="wrap")
        return Asked(number, tokens, cut + 1, True)

    def _ask_all(self) -> list[scoring.Floats]:
        """Log-probabilities of each row's counted tokens, from two processes that check each other. Raises Verdict."""
        first, second = self._deal()
        answers: list[Answer] = []
        with self.predictor("predict") as (wire, _):
            answers += self._ask(wire, first)
        with self.predictor("probe") as (wire, _):
            answers += self._ask(wire, second)
        real = {answer.asked.row: answer.picked for answer in answers if not answer.asked.scrambled}
        self._compare(real, (answer for answer in answers if answer.asked.scrambled))
        return [real[number] for number in range(len(self.rows))]

    def _ask(self, wire: Wire, asked: Sequence[Asked]) -> list[Answer]:
        """Spell a sample again, then have all rows predicted in random company."""
        self.spell_again(wire)
        answers: list[Answer] = []
        for index, chunk in enumerate(chunks_of(asked, self.draw, int(self.number("chunk_tokens")))):
            length = -(-max(len(one.tokens) for one in chunk) // BUCKET) * BUCKET
            tokens = np.stack([np.pad(one.tokens, (0, length - len(one.tokens)), mode="edge") for one in chunk])
            answers += self._read(wire, chunk, tokens, index)
        return answers

    def _read(self, wire: Wire, chunk: Sequence[Asked], tokens: scoring.Tokens, index: int) -> list[Answer]:
        """The counted log-probabilities of a chunk of padded rows (B, T)."""
        logits = self.logits(wire, tokens)
        with in_chunk(index):
            scoring.require_finite(logits)
        spans = [(self.rows[one.row].first, one.end) for one in chunk]
        wanted = np.concatenate([logits[i, first:end] for i, (first, end) in enumerate(spans)])
        targets = np.concatenate(
            [self.rows[one.row].tokens[first:end] for one, (first, end) in zip(chunk, spans, strict=True)]
        )
        picked = scoring.log_probabilities(wanted[None], targets[None])[0]
        ends = np.cumsum([end - first for first, end in spans])
        return [Answer(one, part) for one, part in zip(chunk, np.split(picked, ends[:-1]), strict=True)]

    def _compare(self, real: Mapping[int, scoring.Floats], probes: Iterable[Answer]) -> None:
        """Predictions before and at the cut may not have moved. Raises Verdict when one has."""
        largest = 0.0
        for probe in probes:
            number = probe.asked.row
            move, _, position = scoring.largest_difference(real[number][None, : len(probe.picked)], probe.picked[None])
            if not move <= LARGEST_MOVE:
                what = "its future was replaced in another process"
                raise not_causal(move, what, {"row": number, "position": self.rows[number].first + position})
            largest = max(largest, move)
        self.record.numbers["largest_move"] = largest

    # Arithmetic

    def _score(self, picked: Sequence[scoring.Floats]) -> float:
        """Mean of centred accuracies; accuracies, bits of the items and bits per byte go into the record."""
        totals = iter([float(found.sum()) for found in picked])
        credits: dict[str, list[float]] = {}
        for item in self.items:
            scores = [next(totals) / len(choice) for choice in item.choices]
            credits.setdefault(item.task, []).append(credit(scores, item.answer))
        chances = {item.task: 1 / len(item.choices) for item in self.items}
        accuracies = {task: sum(found) / len(found) for task, found in credits.items()}
        self.record.secondary["val_bpb"] = scoring.bits_per_byte(sum(totals), sum(map(len, self.excerpt)))
        self.record.secondary.update(accuracies)
        self.record.numbers.update({f"correct_{task}": as_bits(found) for task, found in credits.items()})
        self.record.numbers["ties"] = sum(0 < one < 1 for found in credits.values() for one in found)
        return centred(accuracies, chances)


def chunks_of(asked: Sequence[Asked], draw: np.random.Generator, most: int) -> list[list[Asked]]:
    """Rows of like length in random company, about ``most`` tokens together; chunks in random order."""
    buckets: dict[int, list[Asked]] = {}
    for index in draw.permutation(len(asked)):
        one = asked[index]
        buckets.setdefault(-(-len(one.tokens) // BUCKET), []).append(one)
    chunks: list[list[Asked]] = []
    for size, rows in sorted(buckets.items()):
        count = max(1, most // (size * BUCKET))
        chunks += [rows[i : i + count] for i in range(0, len(rows), count)]
    return [chunks[i] for i in draw.permutation(len(chunks))]


def credit(scores: Sequence[float], answer: int) -> float:
    """1 when the answer scores best, its share of a tie, else 0."""
    near = [score >= max(scores) - TIE for score in scores]
    return near[answer] / sum(near)


def centred(accuracies: Mapping[str, float], chances: Mapping[str, float]) -> float:
    """Mean over tasks of (accuracy - chance) / (1 - chance), as CORE is defined (Li et al. 2024, DataComp-LM)."""
    return sum((accuracies[task] - chance) / (1 - chance) for task, chance in chances.items()) / len(chances)


def as_bits(credits: Sequence[float]) -> str:
    """One bit per item in order, 1 for an outright right answer, as hexadecimal; the last byte is filled with 0."""
    return np.packbits(np.array(credits) == 1.0).tobytes().hex()
