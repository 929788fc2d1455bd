"""Bytes to tokens and back: byte-pair merges counted on a sample of the training text (Sennrich et al. 2016)."""

import collections
import itertools
import re

import hyperparameters

SAMPLE_BYTES: int = 600_000
WORD = re.compile(rb" ?[A-Za-z]+| ?[0-9]+| ?[^A-Za-z0-9\s]+|\s")


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
        most = max(total.values())
        best = max(pair for pair, n in total.items() if n == most)
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
    """A tokenizer of hyperparameters.VOCABULARY tokens from the training texts."""
    base = alphabet()
    return Tokenizer(base + learn_merges(sample(documents), hyperparameters.VOCABULARY - len(base)))
