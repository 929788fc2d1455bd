"""Which processes belong to a DATA_DIR, and waiting for them to go."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def data_folder() -> Iterator[Path]:
    """A fresh DATA_DIR with a short name (sockets lie in it), removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ar-", dir="/tmp"))
    try:
        yield folder
    finally:
        until(lambda: not belonging(folder), 20)
        left = belonging(folder)
        shutil.rmtree(folder)
        assert not left


def belonging(folder: Path) -> dict[int, str]:
    """Living processes that name ``folder`` in their command or environment, or work in it; pid -> command."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            state = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[0]
            there = os.readlink(f"{entry.path}/cwd")
            environment = Path(entry.path, "environ").read_bytes()
        except OSError:
            continue
        named = (
            str(folder) in command
            or there.startswith(str(folder))
            or os.fsencode(f"DATA_DIR={folder}\0") in environment
        )
        if named and state not in "ZX":
            found[int(entry.name)] = command.strip()
    return found


def until(holds: Callable[[], object], seconds: float) -> bool:
    """Wait until ``holds()``; False when it did not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
