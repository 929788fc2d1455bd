"""Centred accuracy over tasks with worked examples in their prompts: the scorer of NanoChat-D12 at full size.

Every option of every question is a row like any other. Rows of like length are gathered into chunks, and chunks are
dealt out between two fresh processes; each also gets chunks of the other in the same shape, in which some rows
have another future and the rest are other rows altogether. Logits are asked for where they count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluators.child.frames import Kind
from evaluators.contract import Measurement
from evaluators.harness import scoring
from evaluators.harness.choices import BUCKET, LARGEST_MOVE, PACK, TIE, Row, as_bits, centred, credit
from evaluators.harness.order import Order
from evaluators.harness.projection import project
from evaluators.harness.training_budget import BudgetedTraining
from evaluators.harness.verdicts import Phase, not_causal
from evaluators.harness.wire import Wire

FLOAT = 4


@dataclass(frozen=True)
class Option:
    """Pieces of text in front, which are spelt one by one, and the text that is judged behind them."""

    prompt: tuple[bytes, ...]
    text: bytes


@dataclass(frozen=True)
class Question:
    """Which option is the likeliest, or, where there is one only, whether each of its tokens is.

    ``answer`` never leaves the evaluator.
    """

    task: str
    options: tuple[Option, ...]
    answer: int


@dataclass(frozen=True)
class Chunk:
    """Rows of one request, by number, filled up to ``length``; logits are wanted from position ``first`` on."""

    rows: tuple[int, ...]
    length: int
    first: int


@dataclass(frozen=True)
class Request:
    """A chunk as it is sent, tokens (B, T). Of row r counted positions before ``ends[r]`` are read, none where it is 0.

    real: nothing in it was replaced.
    """

    chunk: Chunk
    tokens: scoring.Tokens
    ends: tuple[int, ...]
    real: bool


@dataclass(frozen=True)
class Answer:
    """What was said of counted tokens of a row: log-probabilities (nats), and margins over the best other token."""

    picked: scoring.Floats
    margins: scoring.Floats


def measure(
    order: Order, questions: Sequence[Question], chances: Mapping[str, float], texts: Sequence[bytes]
) -> Measurement:
    """Train, then score: the mean over tasks of (accuracy - chance) / (1 - chance). chances: task -> [0, 1).

    ``texts`` are for bits per byte, a second figure. Raises HarnessFault for faults of the evaluator or its host, and
    what ``report`` raises (Cancelled).
    """
    return _Trial(order, questions, chances, texts).measurement()


class _Trial(BudgetedTraining):
    """One measurement under way."""

    def __init__(
        self, order: Order, questions: Sequence[Question], chances: Mapping[str, float], texts: Sequence[bytes]
    ) -> None:
        super().__init__(order)
        self.questions, self.chances, self.texts = questions, chances, texts
        self.rows: list[Row] = []
        self.kin: list[str] = []
        self.sent_bytes = 0

    def run(self) -> float:
        """The score. Raises Verdict."""
        options = [option for question in self.questions for option in question.options]
        pieces = sorted({p for option in options for p in (*option.prompt, option.text)} | set(self.texts))
        pieces = [pieces[i] for i in self.draw.permutation(len(pieces))]
        room = self.room()
        with self.yardstick:
            project(self)
            tokens = self.train(room, [pieces[i : i + PACK] for i in range(0, len(pieces), PACK)])
            self.spelt = dict(zip(pieces, tokens, strict=True))
            self._lay_out()
            return self._score(self._ask_all())

    # Rows and requests

    def _lay_out(self) -> None:
        """Rows of all options in order, then those of the texts; beside each the name of its kind."""
        for question in self.questions:
            for option in question.options:
                parts = [self.spelt[piece] for piece in option.prompt]
                self.rows.append(Row(np.concatenate([*parts, self.spelt[option.text]]), sum(map(len, parts))))
                self.kin.append(question.task)
        length = int(self.number("row_tokens"))
        for text in self.texts:
            tokens = self.spelt[text]
            cut = [Row(tokens[at : at + length], 0) for at in range(0, len(tokens), length)]
            self.rows += cut
            self.kin += [""] * len(cut)

    def _deal(self) -> tuple[list[Request], list[Request]]:
        """Half of the chunks for each process, and a share of each half, with others in it, for the other one."""
        most = int(self.number("chunk_bytes")) // (FLOAT * len(self.vocabulary))
        chunks = chunks_of(self.rows, self.draw, int(self.number("chunk_tokens")), most)
        half = (len(chunks) + 1) // 2
        donors: dict[str, list[int]] = {}
        for number, name in enumerate(self.kin):
            donors.setdefault(name, []).append(number)
        dealt: tuple[list[Request], list[Request]] = ([], [])
        for side, part in enumerate((chunks[:half], chunks[half:])):
            dealt[side].extend(self._as_it_is(chunk) for chunk in part)
            for chunk in part[: math.ceil(len(part) * self.number("probed_share"))]:
                dealt[1 - side].append(self._among_others(chunk, donors))
        first, second = ([side[i] for i in self.draw.permutation(len(side))] for side in dealt)
        return first, second

    def _as_it_is(self, chunk: Chunk) -> Request:
        tokens = np.stack([filled(self.rows[number].tokens, chunk.length) for number in chunk.rows])
        return Request(chunk, tokens, tuple(len(self.rows[number].tokens) for number in chunk.rows), True)

    def _among_others(self, chunk: Chunk, donors: Mapping[str, Sequence[int]]) -> Request:
        """The same places: some rows go on otherwise from a random counted place, the rest are rows of other tasks.

        What goes on comes from rows of the same task, so that it reads like what it replaces. How many rows are kept
        is drawn as well: what stands in many rows of a chunk is missed only by those that are kept nearly alone.
        """
        kept = self.draw.random(len(chunk.rows)) < self.draw.random()
        kept[self.draw.integers(len(kept))] = True
        tokens, ends = [], []
        for number, keep in zip(chunk.rows, kept.tolist(), strict=True):
            row, kin = self.rows[number], donors[self.kin[number]]
            if not keep:
                tokens.append(filled(self.rows[self._of_another_task(number)].tokens, chunk.length))
                ends.append(0)
                continue
            cut = int(self.draw.integers(row.first, len(row.tokens)))
            other = self.rows[kin[int(self.draw.integers(len(kin)))]]
            begin = min(other.first + cut - row.first, len(other.tokens) - 1)
            mixed = np.concatenate((row.tokens[:cut], np.resize(other.tokens[begin:], len(row.tokens) - cut)))
            tokens.append(filled(mixed, chunk.length))
            ends.append(cut + 1)
        return Request(chunk, np.stack(tokens), tuple(ends), False)

    def _of_another_task(self, number: int) -> int:
        """Any other row, as a rule of another task."""
        drawn = [int(self.draw.integers(len(self.rows))) for _ in range(8)]
        return next((other for other in drawn if self.kin[other] != self.kin[number]), drawn[0])

    # Answers

    def _ask_all(self) -> list[Answer]:
        """What was said of each row, from two processes that check each other. Raises Verdict."""
        first, second = self._deal()
        real: dict[int, Answer] = {}
        probes: list[tuple[int, Answer]] = []
        phases: tuple[tuple[Phase, list[Request]], ...] = (("predict", first), ("probe", second))
        for phase, requests in phases:
            with self.predictor(phase) as (wire, _):
                self.spell_again(wire)
                for index, request in enumerate(requests):
                    found = self._read(wire, request, index)
                    if request.real:
                        real.update(found)
                    else:
                        probes += found.items()
        self.record.numbers["logits_gigabytes"] = round(self.sent_bytes / 1e9, 3)
        self._compare(real, probes)
        return [real[number] for number in range(len(self.rows))]

    def _read(self, wire: Wire, request: Request, index: int) -> dict[int, Answer]:
        """What is said of the rows' own tokens, whatever was sent in their place."""
        chunk = request.chunk
        own = np.stack([filled(self.rows[number].tokens, chunk.length)[chunk.first :] for number in chunk.rows])
        logits = self.logits(wire, request.tokens, Kind.TAIL, chunk.first)
        self.sent_bytes += logits.nbytes
        picked, margins = self.with_margins(wire, logits, own, index)
        found: dict[int, Answer] = {}
        for place, (number, end) in enumerate(zip(chunk.rows, request.ends, strict=True)):
            if end:
                span = slice(self.rows[number].first - chunk.first, end - chunk.first)
                found[number] = Answer(picked[place, span].copy(), margins[place, span].copy())
        return found

    def _compare(self, real: Mapping[int, Answer], probes: Sequence[tuple[int, Answer]]) -> None:
        """Predictions before and at the cut may not have moved, nor who was ahead. Raises Verdict when one has."""
        largest = 0.0
        for number, probe in probes:
            found = moved(real[number], probe)
            move, _, position = scoring.largest_difference(found, np.zeros_like(found))
            if not move <= LARGEST_MOVE:
                what = "its future and its company were replaced in another process"
                raise not_causal(move, what, {"row": number, "position": self.rows[number].first + position})
            largest = max(largest, move)
        self.record.numbers["largest_move"] = largest

    # Arithmetic

    def _score(self, answers: Sequence[Answer]) -> float:
        """Mean of centred accuracies; accuracies, bits of the questions and bits per byte go into the record."""
        rows = iter(answers)
        by_byte: dict[str, list[float]] = {}
        by_token: dict[str, list[float]] = {}
        for question in self.questions:
            found = [next(rows) for _ in question.options]
            by_byte.setdefault(question.task, []).append(credit_by_byte(question, found))
            by_token.setdefault(question.task, []).append(credit_by_token(question, found))
        accuracies, alike = ({task: sum(c) / len(c) for task, c in kept.items()} for kept in (by_byte, by_token))
        total = sum(float(answer.picked.sum()) for answer in rows)
        self.record.secondary["val_bpb"] = scoring.bits_per_byte(total, sum(map(len, self.texts)))
        self.record.secondary["core_per_token"] = centred(alike, self.chances)
        self.record.secondary.update(accuracies)
        self.record.numbers.update({f"correct_{task}": as_bits(found) for task, found in by_byte.items()})
        self.record.numbers["ties"] = sum(0 < one < 1 for found in by_byte.values() for one in found)
        return centred(accuracies, self.chances)


def moved(before: Answer, after: Answer) -> scoring.Floats:
    """How far log-probabilities and margins are from what they were, (2, length of the latter).

    The first alone would not do: who else is ahead decides where each token has to be the likeliest.
    """
    until = len(after.picked)
    return np.stack((before.picked[:until] - after.picked, before.margins[:until] - after.margins))


def filled(tokens: scoring.Tokens, length: int) -> scoring.Tokens:
    """The first ``length`` tokens, or all and the last one again and again."""
    return np.pad(tokens[:length], (0, max(0, length - len(tokens))), mode="edge")


def chunks_of(rows: Sequence[Row], draw: np.random.Generator, most_tokens: int, most_wanted: int) -> list[Chunk]:
    """Rows of like length and with like much to count, in random company; chunks in random order.

    most_tokens: of a chunk; most_wanted: of its positions whose logits are asked for.
    """

    def size_of(number: int) -> tuple[int, int]:
        bucket = -(-len(rows[number].tokens) // BUCKET)
        return bucket, -(-(bucket * BUCKET - rows[number].first) // BUCKET)

    chunks: list[Chunk] = []
    for number in sorted(map(int, draw.permutation(len(rows))), key=size_of):
        length, first = size_of(number)[0] * BUCKET, rows[number].first
        last = chunks[-1] if chunks else None
        if last is not None and last.length == length:
            count, begin = len(last.rows) + 1, min(last.first, first)
            if count * length <= most_tokens and count * (length - begin) <= most_wanted:
                chunks[-1] = Chunk((*last.rows, number), length, begin)
                continue
        chunks.append(Chunk((number,), length, first))
    return [chunks[i] for i in draw.permutation(len(chunks))]


def credit_by_byte(question: Question, found: Sequence[Answer]) -> float:
    """1 when the answer's mean log-probability per byte is the highest, its share of a tie, else 0.

    Where there is one option: 1 when each of its tokens is the likeliest by more than the probe may miss.
    """
    if len(found) == 1:
        return float(bool((found[0].margins > TIE).all()))
    scores = [
        float(answer.picked.sum()) / len(option.text) for answer, option in zip(found, question.options, strict=True)
    ]
    return credit(scores, question.answer)


def credit_by_token(question: Question, found: Sequence[Answer]) -> float:
    """The same by the mean log-probability per token, as nanochat has it; the first of equals is chosen."""
    if len(found) == 1:
        return credit_by_byte(question, found)
    means: npt.NDArray[np.float64] = np.array([float(answer.picked.mean()) for answer in found])
    return float(int(means.argmax()) == question.answer)
