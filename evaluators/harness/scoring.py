"""The arithmetic of a language model's score. Holds the held-out text; never sees recipe code. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int32]
Logits = npt.NDArray[np.float32]

WHOLE_ROWS = 0.125


@dataclass(frozen=True)
class Chunk:
    """Rows of tokens that are scored in one request.

    tokens: (rows, length); counted: (rows, length), False where a row was filled up behind the end of its text.
    """

    tokens: Tokens
    counted: npt.NDArray[np.bool_]


class NotADistribution(ValueError):
    """Logits that are not finite."""


def spells(tokens: Tokens, vocabulary: Sequence[bytes], text: bytes) -> int:
    """-1 when the tokens spell the text exactly, else the first byte at which they do not."""
    # Below zero Python would count from the end: a second name for a token, and a bit that nobody charges.
    known = not tokens.size or (int(tokens.min()) >= 0 and int(tokens.max()) < len(vocabulary))
    if known and b"".join(map(vocabulary.__getitem__, tokens.tolist())) == text:
        return -1
    at = 0
    for number in tokens.tolist():
        piece = vocabulary[number] if 0 <= number < len(vocabulary) else None
        if piece is None or not text.startswith(piece, at):
            return at
        at += len(piece)
    return -1 if at == len(text) else at


def chunks_of(texts: Sequence[Tokens], rows: int, length: int, *, fitted: bool = False) -> list[Chunk]:
    """Cut texts into rows of ``length`` tokens, in order, and rows into chunks of at most ``rows``.

    A row never crosses from one text into the next; the last row of a text is filled with its last token, uncounted:
    to ``length``, or to the longest row of its chunk (``fitted``).
    """
    cut = [tokens[start : start + length] for tokens in texts for start in range(0, len(tokens), length)]
    chunks: list[Chunk] = []
    for i in range(0, len(cut), rows):
        some = cut[i : i + rows]
        wide = max(map(len, some)) if fitted else length
        tokens = np.stack([np.pad(piece, (0, wide - len(piece)), mode="edge") for piece in some])
        chunks.append(Chunk(tokens, np.stack([np.arange(wide) < len(piece) for piece in some])))
    return chunks


def log_probabilities(logits: Logits, tokens: Tokens) -> Floats:
    """logits (B, T, V), tokens (B, T) -> natural log-probability of each token (B, T), in float64.

    Raises NotADistribution when a logit is not finite.
    """
    require_finite(logits)
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    picked = np.take_along_axis(wide, tokens[..., None].astype(np.int64), axis=-1)[..., 0]
    total: Floats = picked - np.log(np.exp(wide).sum(axis=-1))
    return total


def margins(logits: Logits, tokens: Tokens) -> Floats:
    """logits (B, T, V), tokens (B, T) -> how far each token's logit is above the largest of the others (B, T)."""
    wanted = tokens[..., None].astype(np.int64)
    others = logits.astype(np.float64)
    own = np.take_along_axis(others, wanted, axis=-1)[..., 0]
    np.put_along_axis(others, wanted, -np.inf, axis=-1)
    found: Floats = own - others.max(axis=-1)
    return found


def require_finite(logits: Logits) -> None:
    """Raises NotADistribution that names the first row and position of logits (B, T, V) that are not finite."""
    if not np.isfinite(logits).all():
        row, position, _ = np.argwhere(~np.isfinite(logits))[0]
        raise NotADistribution(f"a logit is not finite, first in row {row} at position {position}")


def bits_per_byte(log_probability: float, text_bytes: int) -> float:
    """Sum of natural log-probabilities of all tokens -> bits per byte of the text that they spell."""
    return -log_probability / math.log(2) / text_bytes


@dataclass(frozen=True)
class Scramble:
    """A chunk whose future was replaced: row r keeps its tokens before ``cuts[r]``."""

    tokens: Tokens
    cuts: npt.NDArray[np.int64]


def gains(picked: Floats, tokens: Tokens, pool: Tokens) -> Floats:
    """How much better each token (B, T) was predicted than its frequency in ``pool`` would have: nats, at least 0."""
    counts = np.bincount(pool, minlength=int(tokens.max()) + 1)
    found: Floats = np.maximum(0.0, picked - np.log(np.maximum(counts, 1)[tokens] / len(pool)))
    return found


def scramble(chunk: Chunk, pool: Tokens, draw: np.random.Generator, gain: Floats | None = None) -> Scramble:
    """Replace each row's future from a random cut with real text from elsewhere in ``pool``.

    About one row in eight is replaced whole, so that a model that looks into other rows of a chunk is seen as well.
    gain (rows, length): half of the cuts are drawn in proportion to it. Only the token at the cut tells whether it was
    looked at itself, and whoever looks at a few looks where most is to be gained.
    """
    rows, length = chunk.tokens.shape
    chances = np.full((rows, length), 1.0 / length)
    if gain is not None:
        chances += gain / np.maximum(gain.sum(axis=1, keepdims=True), 1e-9)
    chances /= chances.sum(axis=1, keepdims=True)
    whole: npt.NDArray[np.bool_] = np.less(draw.random(rows), WHOLE_ROWS)
    cuts = np.array([0 if whole[row] else draw.choice(length, p=chances[row]) for row in range(rows)])
    if not cuts.any():
        cuts[draw.integers(rows)] = draw.integers(1, length)
    tokens = chunk.tokens.copy()
    for row, cut in enumerate(cuts):
        begin = int(draw.integers(0, len(pool)))
        tokens[row, cut:] = np.take(pool, np.arange(begin, begin + length - cut), mode="wrap")
    return Scramble(tokens, cuts.astype(np.int64))


def largest_move(before: Floats, after: Floats, cuts: npt.NDArray[np.int64]) -> tuple[float, int, int]:
    """How far log-probabilities (B, T) that may not depend on the future moved: (change, row, position).

    Position t is predicted from tokens before t, so positions up to and including the cut of a row are compared.
    """
    upto = np.arange(before.shape[1]) <= cuts[:, None]
    return largest_difference(np.where(upto, before, 0.0), np.where(upto, after, 0.0))


def largest_difference(before: Floats, after: Floats) -> tuple[float, int, int]:
    """Largest difference of two (B, T) arrays: (difference, row, position); NaN counts as infinite."""
    change = np.nan_to_num(np.abs(before - after), nan=math.inf)
    row, position = np.unravel_index(int(change.argmax()), change.shape)
    return float(change[row, position]), int(row), int(position)
