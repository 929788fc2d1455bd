"""Tokenised text on disk, as the full-size profiles have it: shards that are checked and indexed once, by ``prepare``.

A shard is a file of 256 little-endian int32 (magic 20240520, version 1, count of tokens, zeros) and uint16 tokens, the
format of the FineWeb shards of Parameter Golf. Recipes see the files read-only (evaluators/child/library.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.child.library import HEADER_BYTES, Library
from evaluators.harness.text import DataError

MAGIC, VERSION = 20240520, 1
HEADER = struct.Struct("<3i")
MANIFEST = "shelf.json"
SHAPE = "256 little-endian int32 (20240520, 1, count of tokens, zeros), then that many uint16 tokens"


@dataclass(frozen=True)
class Shard:
    """One file of tokens. starts: file of uint64, the places in it where documents begin."""

    path: Path
    starts: Path
    tokens: int
    documents: int
    sha256: str


@dataclass(frozen=True)
class Shelf:
    """Shards in order. vocabulary: what each token spells; boundary: the token in front of a document.

    strip: the tokenizer put a space in front of each document, which is no part of its text.
    """

    shards: tuple[Shard, ...]
    vocabulary: tuple[bytes, ...]
    boundary: int
    strip: bool

    def paths(self) -> tuple[Path, ...]:
        """Every file that a reader needs."""
        return tuple(path for shard in self.shards for path in (shard.path, shard.starts))

    def to_json(self) -> bytes:
        """What the child is told, but for the vocabulary."""
        shards = [[str(shard.path), str(shard.starts)] for shard in self.shards]
        return json.dumps({"shards": shards, "boundary": self.boundary, "strip": self.strip}).encode()

    def library(self) -> Library:
        """The documents, for the evaluator's own reading."""
        shards = [(str(shard.path), str(shard.starts)) for shard in self.shards]
        return Library(shards, list(self.vocabulary), self.boundary, self.strip)

    def sha256(self) -> str:
        """Hash of the shards' hashes and of the vocabulary."""
        whole = sha256()
        for part in (*(shard.sha256.encode() for shard in self.shards), *self.vocabulary):
            whole.update(struct.pack("<I", len(part)) + part)
        return whole.hexdigest()


def write_shard(path: Path, tokens: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.uint16]]) -> None:
    """Write tokens (count,) below 65,536 as a shard."""
    body = np.asarray(tokens, dtype="<u2").tobytes()
    path.write_bytes(HEADER.pack(MAGIC, VERSION, len(body) // 2).ljust(HEADER_BYTES, b"\0") + body)


def check_shard(path: Path) -> int:
    """Tokens of a shard, by its header and size. Raises DataError."""
    if not path.is_file():
        raise DataError(f"{path} is missing, expected a shard: {SHAPE}")
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise DataError(f"{path} has {len(head)} bytes, expected a shard: {SHAPE}")
    magic, version, count = map(int, HEADER.unpack_from(head))
    if (magic, version) != (MAGIC, VERSION):
        raise DataError(f"{path} begins with {magic}, {version}, expected a shard: {SHAPE}")
    size = path.stat().st_size
    if count < 1 or size != HEADER_BYTES + 2 * count:
        raise DataError(f"{path} has {size} bytes and announces {count} tokens, expected {HEADER_BYTES + 2 * count}")
    return count


def index(paths: Sequence[Path], boundary: int, vocabulary: int, folder: Path, tell: Callable[[str], None]) -> None:
    """Read every shard once; write where documents begin, hashes and sizes to ``folder``.

    A shard that was indexed and has not changed is left alone. Raises DataError for a broken shard or a token beyond
    the vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = _manifest(folder)
    for path in paths:
        if _signature(path) == known.get(path.name, {}).get("signature"):
            continue
        count = check_shard(path)
        tell(f"indexing {path.name}, {count:,} tokens")
        tokens = np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES)
        largest = int(tokens.max())
        if largest >= vocabulary:
            raise DataError(f"{path} holds token {largest}, expected tokens below {vocabulary}")
        starts = np.flatnonzero(tokens == boundary).astype("<u8")
        if not len(starts) or starts[0] != 0:  # the end of a document that began in the shard before
            starts = np.concatenate((np.zeros(1, "<u8"), starts))
        (folder / f"{path.name}.starts").write_bytes(starts.tobytes())
        known[path.name] = {
            "signature": _signature(path),
            "sha256": _hash(path),
            "tokens": count,
            "documents": len(starts),
        }
        beside = folder / f"{MANIFEST}.new"
        beside.write_text(json.dumps(known, indent=1), encoding="utf-8")
        beside.replace(folder / MANIFEST)


def shards_of(paths: Sequence[Path], folder: Path, prepare: str) -> tuple[Shard, ...]:
    """Indexed shards. ``prepare`` is the command that indexes. Raises DataError for one that is not, or has changed."""
    known = _manifest(folder)
    found: list[Shard] = []
    for path in paths:
        entry = known.get(path.name)
        if entry is None or entry["signature"] != _signature(path):
            what = "is not indexed yet" if entry is None else "has changed since it was indexed"
            raise DataError(f"{path} {what}: run {prepare}")
        starts = folder / f"{path.name}.starts"
        found.append(Shard(path, starts, entry["tokens"], entry["documents"], entry["sha256"]))
    return tuple(found)


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _signature(path: Path) -> list[object]:
    """Place, size and time of a file. Raises DataError when it is missing."""
    try:
        seen = path.stat()
    except OSError:
        raise DataError(f"{path} is missing, expected a shard: {SHAPE}") from None
    return [str(path), seen.st_size, seen.st_mtime_ns]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        whole = sha256()
        while piece := file.read(1 << 24):
            whole.update(piece)
    return whole.hexdigest()
