"""What is read: the tokenizer, which text, in what order, in what portions. Tokens are read where they lie."""

import itertools
import re

import numpy as np
import torch
from torch import Tensor

#: Words begin with their space and no merge crosses them, as in the shards.
WORD = re.compile(rb" ?[^ ]+| ")
CHARACTER = re.compile(
    rb"[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[\x80-\xff]"
)
CONTEXT: int = 2048
#: Windows of one step, of all devices together.
BATCH: int = 256


def split_words(text: bytes) -> list[bytes]:
    """Pieces that merges never cross; joined they are the text."""
    return WORD.findall(text)


class Tokenizer:
    """A list of tokens; the number of a token is its place in the list, and earlier merges are tried first."""

    def __init__(self, vocabulary: list[bytes], boundary: int) -> None:
        self.vocabulary = vocabulary
        self.boundary = boundary
        self.numbers = {token: number for number, token in enumerate(vocabulary) if token}  # characters before bytes
        self.known: dict[bytes, list[int]] = {}

    def encode_word(self, word: bytes) -> list[int]:
        """Join the pair with the lowest number until none is left; what has no token is spelt in bytes."""
        parts = CHARACTER.findall(word)
        while len(parts) > 1:
            joined = [a + b for a, b in itertools.pairwise(parts)]
            best = min(joined, key=lambda token: self.numbers.get(token, len(self.vocabulary)))
            if best not in self.numbers:
                break
            at = joined.index(best)
            parts[at : at + 2] = [best]
        spelt = (part if part in self.numbers else [bytes([value]) for value in part] for part in parts)
        return [self.numbers[token] for part in spelt for token in ([part] if isinstance(part, bytes) else part)]

    def encode(self, text: bytes) -> list[int]:
        """Token numbers that spell the text."""
        numbers: list[int] = []
        for word in split_words(text):
            if word not in self.known:
                self.known[word] = self.encode_word(word)
            numbers += self.known[word]
        return numbers

    def start(self) -> int:
        """The token that stands before the first token of a text."""
        return self.boundary

    def to_bytes(self) -> bytes:
        """The boundary, then every token behind its length (two bytes each)."""
        lengths = b"".join(len(token).to_bytes(2, "little") + token for token in self.vocabulary)
        return self.boundary.to_bytes(2, "little") + lengths

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Tokenizer":
        """Inverse of to_bytes."""
        vocabulary: list[bytes] = []
        at = 2
        while at < len(raw):
            end = at + 2 + int.from_bytes(raw[at : at + 2], "little")
            vocabulary.append(raw[at + 2 : end])
            at = end
        return cls(vocabulary, int.from_bytes(raw[:2], "little"))


def learn(documents) -> Tokenizer:  # type: ignore[no-untyped-def]  # evaluators/child/library.py
    """The tokenizer of the shards. Another one has to encode their texts within the budget."""
    return Tokenizer(list(documents.vocabulary), documents.boundary)


def batch_size(fraction: float) -> int:
    """Windows per batch of all devices at a fraction of the run."""
    return BATCH


def context_length(fraction: float) -> int:
    """Tokens per window at a fraction of the run."""
    return CONTEXT


class Sampler:
    """Random windows of the shards, each shard as often as it is long."""

    def __init__(self, documents, words: Tokenizer, seed: int) -> None:  # type: ignore[no-untyped-def]
        self.shards = [tokens for tokens in documents.tokens if len(tokens) > CONTEXT + 1]
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
