"""Tokenised text on disk: what is refused, what is indexed, and what a recipe reads of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluators.harness import shelf
from evaluators.harness.text import DataError

VOCABULARY = (b"", b" a", b"b", b" c")
TOKENS = ([2, 0, 1, 2, 0, 3], [0, 1, 1, 0])


def indexed(folder: Path) -> shelf.Shelf:
    """Two shards: the first begins with the end of a document."""
    paths = [folder / "train_0.bin", folder / "train_1.bin"]
    for path, tokens in zip(paths, TOKENS, strict=True):
        shelf.write_shard(path, tokens)
    shelf.index(paths, boundary=0, vocabulary=4, folder=folder / "index", tell=lambda _: None)
    shards = shelf.shards_of(paths, folder / "index", "prepare")
    return shelf.Shelf(shards, VOCABULARY, boundary=0, strip=True)


def test_documents_are_read_like_a_list_of_bytes(tmp_path: Path) -> None:
    documents = indexed(tmp_path).library()
    assert list(documents) == [b"b", b"ab", b"c", b"a a", b""]
    assert (len(documents), documents[-2], documents[1:3]) == (5, b"a a", [b"ab", b"c"])
    with pytest.raises(IndexError):
        documents[5]


def test_the_tokens_lie_there_as_they_were_written(tmp_path: Path) -> None:
    documents = indexed(tmp_path).library()
    assert [tokens.tolist() for tokens in documents.tokens] == list(TOKENS)
    assert documents.tokens_of(0, 1).tolist() == [0, 1, 2]


def test_the_hash_follows_tokens_and_vocabulary(tmp_path: Path) -> None:
    first = indexed(tmp_path)
    other = shelf.Shelf(first.shards, (b"", b" a", b"b", b" d"), boundary=0, strip=True)
    assert first.sha256() != other.sha256()
    assert first.sha256() == indexed(tmp_path).sha256()


def test_a_shard_is_indexed_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    indexed(tmp_path)
    path, told = tmp_path / "train_0.bin", list[str]()
    shelf.index([path], 0, 4, tmp_path / "index", told.append)
    assert told == []
    shelf.write_shard(path, [0, 1, 0, 1, 0, 1, 0, 1])
    with pytest.raises(DataError, match="has changed since it was indexed: run prepare"):
        shelf.shards_of([path], tmp_path / "index", "prepare")
    shelf.index([path], 0, 4, tmp_path / "index", told.append)
    assert told == ["indexing train_0.bin, 8 tokens"]
    assert json.loads((tmp_path / "index" / shelf.MANIFEST).read_text())["train_0.bin"]["documents"] == 4


def head(*numbers: int) -> bytes:
    return np.array(numbers, dtype="<i4").tobytes().ljust(1024, b"\0")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "has 0 bytes"),
        (head(1, 1, 1) + b"\0\0", "begins with 1, 1"),
        (head(20240520, 2, 1) + b"\0\0", "begins with 20240520, 2"),
        (head(20240520, 1, 3) + b"\0\0", "has 1026 bytes and announces 3 tokens, expected 1030"),
        (head(20240520, 1, 0), "announces 0 tokens"),
        (head(20240520, 1, 2) + b"\0\0\x09\0", "holds token 9, expected tokens below 4"),
    ],
)
def test_a_broken_shard_is_named_with_what_was_expected(tmp_path: Path, body: bytes, message: str) -> None:
    path = tmp_path / "train_0.bin"
    path.write_bytes(body)
    with pytest.raises(DataError, match=message):
        shelf.index([path], 0, 4, tmp_path / "index", lambda _: None)


def test_a_missing_or_unknown_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing, expected a shard"):
        shelf.index([tmp_path / "none.bin"], 0, 4, tmp_path / "index", lambda _: None)
    shelf.write_shard(tmp_path / "new.bin", [1])
    with pytest.raises(DataError, match="is not indexed yet: run prepare"):
        shelf.shards_of([tmp_path / "new.bin"], tmp_path / "index", "prepare")
