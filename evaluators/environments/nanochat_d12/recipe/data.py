"""What is read: the tokenizer, which text, in what order, in what portions."""

import collections
import itertools
import re

import numpy as np
import torch
from torch import Tensor

VOCABULARY: int = 512
SAMPLE_BYTES: int = 600_000
WORD = re.compile(rb" ?[A-Za-z]+| ?[0-9]+| ?[^A-Za-z0-9\s]+|\s")
TEXT_BYTES: int = 3_000_000
PIECE_BYTES: int = 20_000
CONTEXT: int = 64
BATCH: int = 16


def split_words(text: bytes) -> list[bytes]:
    """Pieces that merges never cross; joined they are the text."""
    return WORD.findall(text)


def sample(documents: list[bytes]) -> bytes:
    """The beginning of every document, SAMPLE_BYTES in all."""
    share = max(1, SAMPLE_BYTES // max(1, len(documents)))
    return b"\n".join(document[:share] for document in documents)


def alphabet() -> list[bytes]:
    """Tokens that exist before any merge: all single bytes, so that every text can be spelt."""
    return [bytes([value]) for value in range(256)]


def join_pair(word: list[bytes], left: bytes, right: bytes) -> list[bytes]:
    """The word with every occurrence of the pair joined, left to right."""
    out: list[bytes] = []
    at = 0
    while at < len(word):
        if at + 1 < len(word) and word[at] == left and word[at + 1] == right:
            out.append(left + right)
            at += 2
        else:
            out.append(word[at])
            at += 1
    return out


def learn_merges(text: bytes, count: int) -> list[bytes]:
    """The ``count`` most useful joined pieces, best first; ties go to the larger bytes, so that the result is one."""
    counts = collections.Counter(split_words(text))
    words = [([bytes([value]) for value in word], n) for word, n in counts.items()]
    total: collections.Counter[tuple[bytes, bytes]] = collections.Counter()
    holders: dict[tuple[bytes, bytes], set[int]] = collections.defaultdict(set)
    for index, (parts, n) in enumerate(words):
        for pair in itertools.pairwise(parts):
            total[pair] += n
            holders[pair].add(index)
    merges: list[bytes] = []
    while len(merges) < count and total:
        best = max(total, key=lambda pair: (total[pair], pair))
        if best[0] + best[1] not in merges:
            merges.append(best[0] + best[1])
        for index in holders.pop(best):
            parts, n = words[index]
            joined = join_pair(parts, *best)
            for pair in itertools.pairwise(parts):
                total[pair] -= n
            for pair in itertools.pairwise(joined):
                total[pair] += n
                holders[pair].add(index)
            words[index] = (joined, n)
        del total[best]
    return merges


class Tokenizer:
    """A list of tokens; the number of a token is its place in the list, and earlier merges are tried first."""

    def __init__(self, vocabulary: list[bytes]) -> None:
        self.vocabulary = vocabulary
        self.numbers = {token: number for number, token in reversed(list(enumerate(vocabulary)))}
        self.known: dict[bytes, list[int]] = {}

    def encode_word(self, word: bytes) -> list[int]:
        """Join the pair with the lowest number until none is left."""
        parts = [bytes([value]) for value in word]
        while len(parts) > 1:
            joined = [a + b for a, b in itertools.pairwise(parts)]
            best = min(joined, key=lambda token: self.numbers.get(token, len(self.numbers)))
            if best not in self.numbers:
                break
            at = joined.index(best)
            parts[at : at + 2] = [best]
        return [self.numbers[part] for part in parts]

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
        return self.numbers[b"\n"]

    def to_bytes(self) -> bytes:
        """Merged tokens, each behind its length; the alphabet needs no room."""
        merged = self.vocabulary[len(alphabet()) :]
        return b"".join(bytes([len(token)]) + token for token in merged)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Tokenizer":
        """Inverse of to_bytes."""
        vocabulary = alphabet()
        at = 0
        while at < len(raw):
            end = at + 1 + raw[at]
            vocabulary.append(raw[at + 1 : end])
            at = end
        return cls(vocabulary)


def learn(documents: list[bytes]) -> Tokenizer:
    """A tokenizer of VOCABULARY tokens from the training texts."""
    base = alphabet()
    return Tokenizer(base + learn_merges(sample(documents), VOCABULARY - len(base)))


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
    """Windows per batch at a fraction of the run."""
    return BATCH


def context_length(fraction: float) -> int:
    """Tokens per window at a fraction of the run."""
    return CONTEXT


class Sampler:
    """Random windows of the selected text."""

    def __init__(self, documents: list[bytes], words: Tokenizer, seed: int) -> None:
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
