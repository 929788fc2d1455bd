"""Which text is read, in what order, in what portions."""

import hyperparameters
import numpy as np
import tokenizer
import torch
from torch import Tensor

TEXT_BYTES: int = 3_000_000
PIECE_BYTES: int = 20_000


def document_weights(documents: list[bytes]) -> list[float]:
    """How much of each document is wanted, relative to its length."""
    return [1.0] * len(documents)


def select_text(documents: list[bytes], seed: int) -> list[bytes]:
    """About TEXT_BYTES in evenly spread pieces: more than training reads, less than encoding everything costs."""
    draw = np.random.default_rng(seed)
    sizes = np.array([len(d) for d in documents], dtype=float) * np.array(document_weights(documents))
    ends = np.cumsum(sizes / sizes.sum())
    count = max(1, TEXT_BYTES // PIECE_BYTES)
    pieces: list[bytes] = []
    for place in (np.arange(count) + draw.random()) / count:
        text = documents[int(np.searchsorted(ends, place))]
        begin = int(draw.integers(0, max(1, len(text) - PIECE_BYTES)))
        pieces.append(text[begin : begin + PIECE_BYTES])
    return pieces


def batch_size(fraction: float) -> int:
    """Windows per batch at a fraction of the budget."""
    return hyperparameters.BATCH


def context_length(fraction: float) -> int:
    """Tokens per window at a fraction of the budget."""
    return hyperparameters.CONTEXT


class Sampler:
    """Random windows of the selected text."""

    def __init__(self, documents: list[bytes], words: tokenizer.Tokenizer, seed: int) -> None:
        stream = [i for piece in select_text(documents, seed) for i in words.encode(piece)]
        self.tokens = np.array(stream, dtype=np.int64)
        self.draw = np.random.default_rng(seed + 1)

    def starts(self, count: int, length: int) -> np.ndarray:
        """First positions of the next windows (count,)."""
        return self.draw.integers(0, len(self.tokens) - length, size=count)

    def batch(self, fraction: float) -> Tensor:
        """The next batch (B, T + 1): inputs and, shifted by one, targets."""
        length = context_length(fraction) + 1
        starts = self.starts(batch_size(fraction), length)
        return torch.from_numpy(self.tokens[starts[:, None] + np.arange(length)[None, :]])
