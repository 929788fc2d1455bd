"""Accelerators of this host: which there are, and one trial at a time on each of them.

A trial holds an exclusive flock on one file per accelerator, named by its UUID, so that all workers of the host share
the locks whatever their DATA_DIR is, and the kernel frees them when a worker is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

QUERY = ("index", "name", "memory.total", "driver_version", "uuid")
LOOK_SECONDS = 20.0
LOCKS = "AUTORESEARCH_DEVICE_LOCKS"
#: Common to all users of a host where it exists; XDG_RUNTIME_DIR is each user's own.
LOCK_FOLDER = Path("/run/lock")
CHOOSE_SECONDS = 5.0
#: What stands on a trial that waits for an accelerator begins with this.
BUSY = "accelerators are busy"
MIB = 1 << 20


class Unavailable(RuntimeError):
    """No accelerator, or too few, can be had now; one line that says which are there and which are busy."""


@dataclass(frozen=True)
class Accelerator:
    """One device as the driver lists it. memory_bytes: 0 where the driver does not tell."""

    index: int
    name: str
    memory_bytes: int
    driver: str
    uuid: str

    def __str__(self) -> str:
        return f"{self.index} ({self.name})"


_held: ContextVar[tuple[Accelerator, ...]] = ContextVar("held", default=())


def held() -> tuple[Accelerator, ...]:
    """What the measurement that runs in this context holds: empty on a CPU.

    Whoever starts a process on them sets its CUDA_VISIBLE_DEVICES to their UUIDs: CUDA may number devices otherwise.
    """
    return _held.get()


def accelerators(kind: str = "cuda") -> tuple[Accelerator, ...]:
    """The accelerators of a kind that this process may use, in the order of CUDA_VISIBLE_DEVICES where it is set.

    Its numbers are taken as nvidia-smi's. Raises Unavailable when there is none, with the reason; ValueError for a
    kind that is no accelerator.
    """
    if kind != "cuda":
        raise ValueError(f"device kind {kind!r} is no accelerator, expected cuda")
    found = _parse(_listing())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    usable = found if chosen is None else _visible(found, chosen)
    if not usable:
        why = f"CUDA_VISIBLE_DEVICES={chosen} shows none of {len(found)}" if found else "nvidia-smi lists none"
        raise Unavailable(f"no accelerator on this host: {why}")
    return usable


def _listing() -> str:
    """What nvidia-smi prints. Raises Unavailable when it is not there, fails or hangs."""
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LOOK_SECONDS, check=False
        )
    except OSError as error:
        raise Unavailable(f"no accelerator on this host: nvidia-smi cannot be run ({error.strerror})") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"no accelerator on this host: nvidia-smi hangs for {LOOK_SECONDS:g} s") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:160] or "nothing is printed"
        raise Unavailable(f"no accelerator on this host: nvidia-smi ends with {done.returncode}: {said}")
    return done.stdout


def _parse(listing: str) -> tuple[Accelerator, ...]:
    """Lines of ``index, name, MiB, driver, uuid``. Raises Unavailable for one that cannot be read."""
    found = []
    for line in filter(str.strip, listing.splitlines()):
        index, *rest = (field.strip() for field in line.split(","))
        if len(rest) < len(QUERY) - 1 or not index.isdigit() or not rest[-1].startswith("GPU-"):
            raise Unavailable(f"nvidia-smi lists {line.strip()[:120]!r}, expected {', '.join(QUERY)}")
        *name, memory, driver, uuid = rest
        size = int(memory) * MIB if memory.isdigit() else 0
        found.append(Accelerator(int(index), ", ".join(name), size, driver, uuid))
    return tuple(found)


def _visible(found: Sequence[Accelerator], chosen: str) -> tuple[Accelerator, ...]:
    """As CUDA reads its variable: numbers or beginnings of UUIDs, up to the first that fits nothing."""
    usable: list[Accelerator] = []
    for word in filter(None, (word.strip() for word in chosen.split(","))):
        if word.isdigit():
            fits = [one for one in found if one.index == int(word)]
        else:
            fits = [one for one in found if word.startswith("GPU-") and one.uuid.startswith(word)]
        if len(fits) != 1 or fits[0] in usable:
            break
        usable += fits
    return tuple(usable)


@contextlib.contextmanager
def hold(kind: str, count: int) -> Iterator[tuple[Accelerator, ...]]:
    """Exclusive use of ``count`` accelerators of a kind until the end of the block; nothing is held for ``cpu``.

    Nobody is waited for: raises Unavailable at once when too few are free. ``held()`` tells them inside the block.
    """
    if kind == "cpu":
        yield ()
        return
    with contextlib.ExitStack() as locks:
        chosen = _take(accelerators(kind), count, locks)
        token = _held.set(chosen)
        try:
            yield chosen
        finally:
            _held.reset(token)


def _take(usable: Sequence[Accelerator], count: int, locks: contextlib.ExitStack) -> tuple[Accelerator, ...]:
    """The first ``count`` that are free, locked on ``locks``. Raises Unavailable, with nothing locked."""
    if len(usable) < count:
        raise Unavailable(f"{count} accelerators are needed, this worker may use {len(usable)}")
    free: list[Accelerator] = []
    busy: list[Accelerator] = []
    with contextlib.ExitStack() as taken, contextlib.ExitStack() as choosing:
        # One chooser at a time: two that want several must not each take a part.
        deadline = time.monotonic() + CHOOSE_SECONDS
        while not _lock("choosing", choosing):
            if time.monotonic() > deadline:
                raise Unavailable(f"{BUSY}: another worker has been choosing for {CHOOSE_SECONDS:g} s")
            time.sleep(0.01)
        for one in usable:
            if len(free) < count:
                (free if _lock(one.uuid, taken) else busy).append(one)
        if len(free) < count:
            names = ", ".join(map(str, busy))
            raise Unavailable(f"{BUSY}: {names}; {count} needed, {len(free)} of {len(usable)} free")
        locks.push(taken.pop_all())
    return tuple(free)


def _lock(name: str, opened: contextlib.ExitStack) -> bool:
    """Whether the lock of this name could be taken; it is given back when ``opened`` closes."""
    folder = Path(os.environ.get(LOCKS) or (LOCK_FOLDER if os.access(LOCK_FOLDER, os.W_OK) else tempfile.gettempdir()))
    path = folder / f"autoresearch-{re.sub('[^A-Za-z0-9-]', '_', name)}.lock"
    if not folder.is_dir():
        raise Unavailable(f"{folder} is not a folder, expected one for the locks of accelerators ({LOCKS})")
    with contextlib.ExitStack() as closing:
        try:
            descriptor = _open(path)
            closing.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino != path.stat().st_ino:  # somebody has cleaned up in this moment
                return False
        except (BlockingIOError, FileNotFoundError):
            return False
        except OSError as error:
            raise Unavailable(f"{path} cannot be locked ({error.strerror}), expected a plain file ({LOCKS})") from None
        opened.push(closing.pop_all())
        return True


def _open(path: Path) -> int:
    """A descriptor of the lock file, which another user may have made: reading is enough to lock it."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    descriptor = os.open(path, flags | os.O_CREAT, 0o644)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o644)  # whatever the umask says: other users lock it too
    return descriptor
