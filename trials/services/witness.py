"""The newest event of every chain, noted in files outside the database after each commit.

A database that was restored from an older backup lacks an event that a note speaks of. A note is never ahead of a
commit, so it is evidence; one that is behind (a crash between the two) only vouches for less.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

logger = logging.getLogger(__name__)
SITE = "site"
_LINE = re.compile(r"(\d{12}) ([0-9a-f]{64})\n")


@dataclass(frozen=True)
class Noted:
    """What one file says: the chain's newest event when it was written."""

    chain: str
    seq: int
    sha256: str


def folder(site: str) -> Path:
    """Where the notes of one record lie."""
    return Path(settings.DATA_DIR) / "heads" / site[:16]


def note(site: str, chain: str, seq: int, sha256: str) -> None:
    """Write that ``chain`` has come to this event, unless the file is further already."""
    path = folder(site) / chain
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = _read(descriptor, chain)
        if before is None or before.seq < seq:
            os.pwrite(descriptor, f"{seq:012d} {sha256}\n".encode(), 0)
        elif before.seq == seq and before.sha256 != sha256:
            logger.critical("%s: event %s was %s and is %s now", chain, seq, before.sha256, sha256)
    finally:
        os.close(descriptor)


def noted(site: str, newest: int | None = None) -> Iterator[Noted]:
    """All notes of one record, by name, or those that were written last. A file that a crash has left empty says
    nothing."""
    if not folder(site).is_dir():
        return
    paths = sorted(folder(site).iterdir())
    if newest is not None:
        paths = sorted(paths, key=lambda path: path.stat().st_mtime_ns)[-newest:]
    for path in paths:
        with path.open("rb") as stream:
            found = _read(stream.fileno(), path.name)
        if found is not None:
            yield found


def forget(site: str, chain: str) -> None:
    """Take a note away: what it speaks of is lost, and somebody has accepted that."""
    (folder(site) / chain).unlink(missing_ok=True)


def _read(descriptor: int, chain: str) -> Noted | None:
    text = os.pread(descriptor, 100, 0).decode("ascii", "replace")
    found = _LINE.fullmatch(text)
    return None if found is None else Noted(chain, int(found[1]), found[2])
