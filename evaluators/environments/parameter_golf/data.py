"""The text of golf: the packaged plays and books, or a folder of one's own.

``GOLF_TEXT_DIR`` names a folder of ``*.txt`` documents that takes the packages' place; the split then goes by the hash
of each document. Prepared texts are kept under ``DATA_DIR``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from evaluators.harness.text import (
    BIBLE,
    EXCERPT_BYTES,
    EXPECTED,
    HELD_OUT_BYTES,
    LEAST_HELD_OUT,
    LEAST_TRAIN,
    PLAYS,
    SPLITS,
    Corpus,
    DataError,
    corpus_of,
    data_directory,
    describe,
    middle,
    overlap,
    packaged,
)

__all__ = [
    "BIBLE",
    "EXCERPT_BYTES",
    "EXPECTED",
    "PLAYS",
    "SPLITS",
    "Corpus",
    "DataError",
    "data_directory",
    "describe",
    "load",
    "overlap",
    "text_directory",
]


def text_directory() -> Path | None:
    """The folder that replaces the packaged text, from the environment variable GOLF_TEXT_DIR."""
    name = os.environ.get("GOLF_TEXT_DIR", "")
    return Path(name).resolve() if name else None


def load() -> Corpus:
    """The corpus, from memory, from DATA_DIR, or made anew. Raises DataError."""
    folder = text_directory()
    return _packaged(data_directory()) if folder is None else _from_folder(folder, _signature(folder))


@functools.lru_cache(maxsize=2)
def _packaged(directory: Path) -> Corpus:
    return packaged(directory / "parameter_golf")


def _signature(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the documents, so that a changed folder is read again."""
    if not folder.is_dir():
        raise DataError(f"GOLF_TEXT_DIR: {folder} is not a folder, expected one with *.txt documents")
    return tuple(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.glob("*.txt"))
        if path.is_file()
    )


@functools.lru_cache(maxsize=2)
def _from_folder(folder: Path, signature: tuple[tuple[str, int, int], ...]) -> Corpus:
    """Split a folder's documents: in the order of their hashes the first go to validation, the next to sealed.

    The largest document is always trained on, so that one long text beside short ones is no test of chance.
    """
    texts = {sha256(body).hexdigest(): body for body in ((folder / name).read_bytes() for name, *_ in signature)}
    waiting = {key: texts[key] for key in sorted(texts) if texts[key]}
    total = sum(map(len, waiting.values()))
    if len(waiting) < 3:
        raise DataError(f"GOLF_TEXT_DIR: {folder} has {len(waiting)} different documents, expected at least 3 (*.txt)")
    largest = max(waiting, key=lambda key: len(waiting[key]))
    queue = [key for key in waiting if key != largest]
    parts: dict[str, dict[str, bytes]] = {"validation": {}, "sealed": {}}
    for held_out in parts.values():
        while queue and _wants_more(held_out, len(waiting[queue[0]]), total):
            key = queue.pop(0)
            held_out[key] = waiting.pop(key)
    parts["train"] = waiting
    for split, least in (("validation", LEAST_HELD_OUT), ("sealed", LEAST_HELD_OUT), ("train", LEAST_TRAIN)):
        size = sum(map(len, parts[split].values()))
        if size < least:
            raise DataError(
                f"GOLF_TEXT_DIR: {folder} leaves {size} bytes for {split}, expected at least {least} "
                f"({total} bytes in {len(texts)} documents, split by document)"
            )
    return corpus_of(parts, origin=str(folder))


def _wants_more(held_out: Mapping[str, bytes], size: int, total: int) -> bool:
    """Whether a held-out split takes one more document: until enough is scored, within a tenth of the whole text."""
    if not held_out:
        return True
    scored = sum(len(middle(text)) for text in held_out.values())
    return scored < HELD_OUT_BYTES and sum(map(len, held_out.values())) + size <= total // 10
