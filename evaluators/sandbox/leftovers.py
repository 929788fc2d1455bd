"""What a killed worker leaves on its host: folders in the place for temporary files, and at worst processes.

A folder's name tells the process that made it, so that the next worker of the host takes away what nobody uses.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from evaluators.sandbox.view import ENTRY

KINDS = ("box", "probe", "proxy")
_NAME = re.compile(rf"autoresearch-(?:{'|'.join(KINDS)})-(\d+)\.[0-9]+-")
_ADOPTERS = ("autoresearch_site.stack_process",)
"""Of our own programs, who takes in processes whose parent has died."""


@dataclass(frozen=True)
class Orphan:
    """A process of a sandbox whose worker is gone. started: ticks since the machine's start, to tell it from later ones
    of the same number."""

    pid: int
    started: int
    command: str


def prefix(kind: str) -> str:
    """What the name of this process's temporary folders of a kind begins with."""
    assert kind in KINDS
    return f"autoresearch-{kind}-{os.getpid()}.{_started(os.getpid())}-"


def stray() -> list[Path]:
    """Temporary folders whose makers are gone."""
    found = []
    for entry in os.scandir(tempfile.gettempdir()):
        named = _NAME.match(entry.name)
        if named is not None and _maker(entry.name) != _started(int(named[1])):
            found.append(Path(entry.path))
    return sorted(found)


def sweep() -> int:
    """Take stray folders away; returns how many there were. What another user made stays."""
    found = stray()
    for folder in found:
        shutil.rmtree(folder, ignore_errors=True)
    return len(found)


def orphans() -> list[Orphan]:
    """Processes of this installation's sandboxes that nobody has in hand any more. Those of a worker that died just now
    may need a moment to end."""
    ours = os.fsencode(str(ENTRY.parent))
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        command = _command(pid)
        if ours not in command or not _adopted(pid):
            continue
        started = _started(pid)
        if started:
            found.append(Orphan(pid, started, command.replace(b"\0", b" ").decode("utf-8", "replace")[:200]))
    return found


def _adopted(pid: int) -> bool:
    parent = _parent(pid)
    if parent == 0:  # it has ended meanwhile
        return False
    command = _command(parent).decode("utf-8", "replace")
    if any(name in command for name in _ADOPTERS):
        return True
    return str(ENTRY.parent) not in command and not _is_python(parent)


def _is_python(pid: int) -> bool:
    """Whether a process could be a worker; of another user's it is believed."""
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name.startswith("python")
    except FileNotFoundError:
        return False
    except OSError:
        return pid != 1


def _maker(name: str) -> int:
    return int(name.rsplit("-", 1)[0].rpartition(".")[2])


def _fields(pid: int) -> list[bytes]:
    """Fields of stat(5) from the third on; empty for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in (b"Z", b"X") else fields


def _parent(pid: int) -> int:
    fields = _fields(pid)
    return int(fields[1]) if fields else 0


def _started(pid: int) -> int:
    """Ticks between the machine's start and the process's; 0 for one that is gone."""
    fields = _fields(pid)
    return int(fields[19]) if fields else 0


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
