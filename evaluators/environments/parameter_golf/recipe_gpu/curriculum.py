"""Which text is read, in what order, in what portions. The tokens of the shards are read where they lie."""

import hyperparameters
import numpy as np
import tokenizer
import torch
from torch import Tensor


def batch_size(fraction: float) -> int:
    """Windows per step of all devices at a fraction of the budget."""
    return hyperparameters.BATCH


def context_length(fraction: float) -> int:
    """Tokens per window at a fraction of the budget."""
    return hyperparameters.CONTEXT


class Sampler:
    """Random windows of the shards, each shard as often as it is long."""

    def __init__(self, documents, words: tokenizer.Tokenizer, seed: int) -> None:  # type: ignore[no-untyped-def]
        self.shards = [tokens for tokens in documents.tokens if len(tokens) > hyperparameters.CONTEXT + 1]
        sizes = np.array([len(tokens) for tokens in self.shards], dtype=float)
        self.shares = sizes / sizes.sum()
        self.draw = np.random.default_rng(seed + 1)

    def batch(self, fraction: float, count: int) -> Tensor:
        """The next windows (count, T + 1): inputs and, shifted by one, targets."""
        length = context_length(fraction) + 1
        rows = np.empty((count, length), dtype=np.int64)
        for row, shard in enumerate(self.draw.choice(len(self.shards), size=count, p=self.shares)):
            tokens = self.shards[shard]
            begin = int(self.draw.integers(0, len(tokens) - length + 1))
            rows[row] = tokens[begin : begin + length]
        return torch.from_numpy(rows)
