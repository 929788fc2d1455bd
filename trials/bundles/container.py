"""Writing the canonical zip of a bundle: members one after the other, their bytes stored, nothing left to choose.

zipfile leaves versions, flags and extra fields to the Python that runs it; a bundle's every byte follows from the
record, so that two exports are equal and a verifier can check all of them. The layout itself is in ``verify_bundle``.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import verify_bundle

BUFFER = 1 << 18


@dataclass(frozen=True)
class Member:
    """One file in the zip, as the directory and the manifest have it."""

    name: str
    crc: int
    size: int
    offset: int
    sha256: str


class Writing:
    """The member that is being written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._parts, self._waiting = stream, list[bytes](), 0
        self._digest, self.crc, self.size = hashlib.sha256(), 0, 0

    def write(self, data: bytes) -> None:
        """Add bytes; they leave in large pieces."""
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= BUFFER:
            self.flush()

    def line(self, text: str) -> None:
        """Add a line of text."""
        self.write(text.encode() + b"\n")

    def lines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.line(text)

    def flush(self) -> None:
        data = b"".join(self._parts)
        self._digest.update(data)
        self.crc, self.size = zlib.crc32(data, self.crc), self.size + len(data)
        self._stream.write(data)
        self._parts, self._waiting = [], 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class ZipWriter:
    """Writes to a seekable stream, which starts empty; memory does not grow with what is written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._at = 0
        self.members: list[Member] = []

    @contextmanager
    def member(self, name: str) -> Iterator[Writing]:
        """Write one member; its header is filled in when it ends. Raises ValueError for a name that is not allowed."""
        why = verify_bundle.check_name(name)
        if why or any(name == member.name for member in self.members):
            raise ValueError(f"a member cannot be called {name!r}: {why or 'it is there already'}")
        self._stream.write(verify_bundle.local_header(name, 0, 0))
        writing = Writing(self._stream)
        yield writing
        writing.flush()
        header = verify_bundle.local_header(name, writing.crc, writing.size)
        self._stream.seek(self._at)
        self._stream.write(header)
        self.members.append(Member(name, writing.crc, writing.size, self._at, writing.sha256))
        self._at += len(header) + writing.size
        self._stream.seek(self._at)

    def add(self, name: str, data: bytes) -> None:
        """Write a small member."""
        with self.member(name) as writing:
            writing.write(data)

    def close(self) -> None:
        """Write the directory at the end."""
        entries = [verify_bundle.directory_entry(one.name, one.crc, one.size, one.offset) for one in self.members]
        directory = b"".join(entries)
        self._stream.write(directory)
        self._stream.write(verify_bundle.directory_end(len(self.members), self._at, len(directory)))
