"""Frames: what is packed comes back, and bytes from outside never do more than raise the documented errors."""

from __future__ import annotations

import os
import random
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from evaluators.child.frames import (
    HEADER,
    FrameError,
    Kind,
    next_frame,
    pack_files,
    pack_texts,
    read_frame,
    unpack_files,
    unpack_texts,
    write_frame,
)
from evaluators.harness.wire import Ended, Garbage, Overrun, TooLong, Wire, WireError
from evaluators.sandbox import Exit


def test_texts_and_files_come_back() -> None:
    texts = [b"", b"a", bytes(range(256)) * 300]
    assert unpack_texts(pack_texts(texts)) == texts
    files = {"b.py": b"1", "a.py": b"", "\u00e4.py": b"\xff"}
    assert unpack_files(pack_files(files)) == files


def test_the_packing_of_files_does_not_depend_on_their_order() -> None:
    assert pack_files({"a": b"1", "b": b"2"}) == pack_files({"b": b"2", "a": b"1"})
    assert pack_files({"a": b"12", "b": b""}) != pack_files({"a": b"1", "b": b"2"})


def test_every_cut_and_every_extension_of_packed_texts_is_refused() -> None:
    whole = pack_texts([b"one", b"", b"three"])
    for length in range(len(whole)):
        with pytest.raises(FrameError):
            unpack_texts(whole[:length])
    with pytest.raises(FrameError):
        unpack_texts(whole + b"x")


def test_random_bytes_are_texts_or_a_frame_error() -> None:
    draw = random.Random(0)
    refused = 0
    for _ in range(3000):
        raw = bytearray(pack_texts([draw.randbytes(draw.randrange(9)) for _ in range(draw.randrange(4))]))
        for _ in range(draw.randrange(4)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        try:
            assert pack_texts(unpack_texts(bytes(raw))) == bytes(raw)
        except FrameError:
            refused += 1
    assert refused > 300


def test_a_frame_crosses_a_pipe_that_is_smaller_than_itself() -> None:
    reader, writer = os.pipe()
    body = bytes(range(256)) * 4096 * 2
    sender = threading.Thread(target=write_frame, args=(writer, Kind.SOURCE, body))
    sender.start()
    assert read_frame(reader, Kind.SOURCE) == body
    sender.join()
    write_frame(writer, Kind.CHUNK, b"x")
    with pytest.raises(FrameError):
        read_frame(reader, Kind.SOURCE)
    assert os.read(reader, 1) == b"x"
    os.close(writer)
    assert next_frame(reader) is None
    os.close(reader)


@dataclass
class Pipes:
    """Real pipes with the face of a confined process that has ended."""

    stdin: int
    stdout: int

    def poll(self) -> Exit:
        return Exit(0, None, 0.0, 0.0, 0)

    def wait(self, timeout: float) -> Exit:
        return self.poll()

    def cpu_seconds(self) -> float:
        return 0.0


@contextmanager
def wire_with(said: bytes) -> Iterator[Wire]:
    """A wire on which a child said these bytes and closed."""
    unread, stdin = os.pipe()
    stdout, child = os.pipe()
    os.write(child, said)
    os.close(child)
    wire = Wire(Pipes(stdin, stdout), lambda _units: None)  # type: ignore[arg-type]
    wire.start_clock(20.0)
    try:
        yield wire
    finally:
        for descriptor in (unread, stdin, stdout):
            os.close(descriptor)


def frame(kind: int, body: bytes) -> bytes:
    return HEADER.pack(kind, len(body)) + body


def test_an_answer_comes_through_behind_progress() -> None:
    said = frame(Kind.PROGRESS, struct.pack("<Q", 7)) + frame(Kind.TOKENS, b"body")
    with wire_with(said) as wire:
        assert wire.receive({Kind.TOKENS: 4}) == (Kind.TOKENS, b"body")
        assert wire.units == 7


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", Ended),
        (HEADER.pack(Kind.TOKENS, 4) + b"bod", Ended),
        (frame(Kind.TOKENS, b"12345"), TooLong),
        (HEADER.pack(Kind.TOKENS, 2**63) + b"12345", TooLong),
        (HEADER.pack(Kind.TOKENS, 2**63) + b"123", Ended),
        (frame(Kind.LOGITS, b""), Garbage),
        (frame(0, b""), Garbage),
        (frame(Kind.PROGRESS, b"1234567"), Garbage),
        (frame(Kind.OVERRUN, struct.pack("<Q", 99)), Overrun),
    ],
)
def test_what_is_not_an_allowed_answer_has_its_own_error(said: bytes, error: type[WireError]) -> None:
    with wire_with(said) as wire, pytest.raises(error):
        wire.receive({Kind.TOKENS: 4})


def test_random_bytes_on_the_wire_end_in_an_answer_or_a_wire_error() -> None:
    draw = random.Random(1)
    kinds = [*Kind, 0, 255]
    errors = set()
    for _ in range(400):
        said = b"".join(
            HEADER.pack(draw.choice(kinds), draw.choice([0, 1, 8, 8, 70_000, 2**64 - 1])) + draw.randbytes(8)
            for _ in range(draw.randrange(5))
        )
        with wire_with(said) as wire:
            try:
                kind, body = wire.receive({Kind.TOKENS: 8})
                assert kind in (Kind.TOKENS, Kind.FAILED) and len(body) <= 1 << 16
            except WireError as error:
                errors.add(type(error))
    assert errors >= {Ended, Garbage, TooLong, Overrun}
