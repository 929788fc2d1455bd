"""Frames between an evaluator and a sandboxed child: one byte of kind, eight of length (little-endian), payload.

Used by both sides; standard library only. What a child sends is untrusted: the reader caps each kind's length before
a byte of the payload is read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum

HEADER = struct.Struct("<BQ")
PIECE = 1 << 20


class Kind(IntEnum):
    """What a frame holds. Below 64: evaluator to child; from 64: child to evaluator."""

    SETTINGS = 1  # JSON object
    SOURCE = 2  # packed files
    DOCUMENTS = 3  # packed training texts
    ARTIFACT = 4  # bytes that train returned
    ENCODE = 5  # packed texts to be spelt in tokens
    CHUNK = 6  # tokens, int32 (rows, length)
    ADAPT = 7  # nothing: learn from the chunk that has just been scored
    LOAD = 8  # nothing: load the artifact that has just left
    SLICE = 9  # nothing: run a slice of the reference work
    IMAGES = 10  # packed images; training ones first, unlabelled ones to predict once the child has trained
    LABELS = 11  # int64, one for each training image
    LIBRARY = 12  # packed: a JSON description of shards on disk, then what each token spells
    ASIDE = 13  # the same as CHUNK, outside the budget: neither scored nor learnt from
    TAIL = 14  # the same as CHUNK, and a position: logits are wanted from there on
    READY = 64  # nothing: the runner has started; sent before any byte of a recipe is read
    PROGRESS = 65  # units spent, u64
    TRAINED = 66  # the artifact; nothing where the model stays in the process
    VOCABULARY = 67  # packed tokens
    TOKENS = 68  # packed: int32 of each text
    LOADED = 69  # one byte, 1 when the predictor adapts; then its packed tokens
    LOGITS = 70  # float32 (rows, length, vocabulary)
    ADAPTED = 71  # nothing
    OVERRUN = 72  # units spent, u64, when they passed the limit
    FAILED = 73  # JSON object: stage, reason, excerpt
    SLICED = 74  # units, u64, and CPU seconds, f64, of that slice
    PREDICTIONS = 75  # u32 rows, u32 classes, float32 (rows, classes)
    WORKED = 76  # packed files that an agent left, the first a JSON report without a name


class FrameError(ValueError):
    """Bytes that are no frame, or a frame that is not allowed here."""


def pack_texts(texts: Sequence[bytes]) -> bytes:
    """Byte strings -> one: a count, then each behind its length (u32)."""
    parts = [struct.pack("<I", len(texts))]
    for text in texts:
        parts += [struct.pack("<I", len(text)), text]
    return b"".join(parts)


def unpack_texts(data: bytes) -> list[bytes]:
    """Inverse of pack_texts. Raises FrameError when lengths do not add up."""
    if len(data) < 4:
        raise FrameError("packed texts end early")
    (count,) = struct.unpack_from("<I", data)
    texts: list[bytes] = []
    at = 4
    for _ in range(count):
        if at + 4 > len(data):
            raise FrameError("packed texts end early")
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + length > len(data):
            raise FrameError("packed texts end early")
        texts.append(data[at : at + length])
        at += length
    if at != len(data):
        raise FrameError(f"{len(data) - at} bytes follow the packed texts")
    return texts


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """Canonical packing of a source tree: names in order, each with its bytes. Hashed, counted and sent alike."""
    return pack_texts([part for name in sorted(files) for part in (name.encode(), files[name])])


def unpack_files(data: bytes) -> dict[str, bytes]:
    """Inverse of pack_files. Raises FrameError."""
    parts = unpack_texts(data)
    if len(parts) % 2:
        raise FrameError("a file without its bytes")
    return {name.decode(): body for name, body in zip(parts[::2], parts[1::2], strict=True)}


def read_exactly(descriptor: int, count: int) -> bytes:
    """Blocking read. Raises FrameError when the other side closes first."""
    pieces: list[bytes] = []
    while count > 0:
        piece = os.read(descriptor, min(count, PIECE))
        if not piece:
            raise FrameError("the stream ended inside a frame")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def read_frame(descriptor: int, expected: Kind) -> bytes:
    """The payload of the next frame, which must be of the expected kind (the child's side; it trusts its parent)."""
    kind, length = HEADER.unpack(read_exactly(descriptor, HEADER.size))
    if kind != expected:
        raise FrameError(f"frame of kind {kind}, expected {expected.name}")
    return read_exactly(descriptor, length)


def next_frame(descriptor: int) -> tuple[Kind, bytes] | None:
    """The next frame of any kind; None when the stream has ended between frames."""
    first = os.read(descriptor, 1)
    if not first:
        return None
    kind, length = HEADER.unpack(first + read_exactly(descriptor, HEADER.size - 1))
    return Kind(kind), read_exactly(descriptor, length)


def write_frame(descriptor: int, kind: Kind, payload: bytes | memoryview = b"") -> None:
    """Blocking write of one frame."""
    for part in (memoryview(HEADER.pack(kind, len(payload))), memoryview(payload)):
        at = 0
        while at < len(part):
            at += os.write(descriptor, part[at : at + PIECE])
