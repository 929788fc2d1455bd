"""Training documents that are too many for a pipe: tokens in read-only files, turned into bytes on request.

A recipe may treat them like a list of bytes, or read the tokens as they lie there. Standard library and numpy only.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

#: Bytes in front of the tokens of a shard: 256 numbers of 4 bytes (magic, version, count of tokens, zeros).
HEADER_BYTES = 1024


class Library(Sequence[bytes]):
    """Documents by number, as bytes.

    tokens: uint16 (count,) of each shard, mapped from its file. starts: uint64 (documents,) of each shard, where its
    documents begin. vocabulary: what each token spells; nothing for control tokens. boundary: the token in front of
    each document. Where the tokenizer put a space in front of a document (``strip``), it is taken away again.
    """

    def __init__(self, shards: Sequence[tuple[str, str]], vocabulary: list[bytes], boundary: int, strip: bool) -> None:
        self.tokens: list[npt.NDArray[np.uint16]] = [
            np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES) for path, _starts in shards
        ]
        self.starts: list[npt.NDArray[np.uint64]] = [np.memmap(starts, dtype="<u8", mode="r") for _, starts in shards]
        self.vocabulary, self.boundary, self._strip = vocabulary, boundary, strip
        self._until = list(itertools.accumulate(len(starts) for starts in self.starts))

    @classmethod
    def from_json(cls, said: bytes, vocabulary: list[bytes]) -> Library:
        """From the evaluator's description: shards [[file, file of starts], ...], boundary, strip."""
        told = json.loads(said)
        shards = [(str(path), str(starts)) for path, starts in told["shards"]]
        return cls(shards, vocabulary, int(told["boundary"]), bool(told["strip"]))

    def __len__(self) -> int:
        return self._until[-1] if self._until else 0

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        shard = bisect.bisect_right(self._until, number)
        return self.text(self.tokens_of(shard, number - (self._until[shard - 1] if shard else 0)))

    def tokens_of(self, shard: int, number: int) -> npt.NDArray[np.uint16]:
        """Tokens of one document of a shard, its boundary included."""
        starts, tokens = self.starts[shard], self.tokens[shard]
        end = int(starts[number + 1]) if number + 1 < len(starts) else len(tokens)
        return tokens[int(starts[number]) : end]

    def text(self, tokens: npt.NDArray[np.uint16]) -> bytes:
        """What the tokens of a whole document spell."""
        spelt = b"".join(map(self.vocabulary.__getitem__, tokens.tolist()))
        return spelt[1:] if self._strip and spelt.startswith(b" ") else spelt
