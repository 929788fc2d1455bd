"""The user's side of the embedded servers: hold the shared lock, start the supervisor where there is none, wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from autoresearch_site.embedded.layout import EmbeddedError, Layout, Lock, held_by_another

_READY_WITHIN = 90.0  # seconds; crash recovery of a large database is the long case
_STOPPED_WITHIN = 30.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]

_held: dict[Path, Lock] = {}  # DATA_DIR -> this process's shared lock


def attach(layout: Layout, needs: Sequence[str]) -> None:
    """Become a user and return once every server in ``needs`` is ready; raises EmbeddedError."""
    lock = _held.get(layout.data_dir)
    if lock is None or not lock.is_current():
        layout.make()
        lock = Lock(layout.users_lock)
        if not lock.take(shared=True, timeout=_STOPPED_WITHIN):
            lock.close()
            raise EmbeddedError(
                f"the embedded servers in {layout.data_dir} have been stopping for over {_STOPPED_WITHIN:.0f} s, "
                f"expected seconds: see {layout.log / 'embedded.log'}"
            )
        _held[layout.data_dir] = lock
    if not _ready(layout, needs):
        _start(layout, needs)


def detach(layout: Layout) -> None:
    """Give the shared lock back and wait until the servers have stopped, or until it is clear that others use them."""
    lock = _held.pop(layout.data_dir, None)
    if lock is None:
        return
    lock.close()
    supervisor = layout.read_state().get("pid")
    if not isinstance(supervisor, int) or not held_by_another(layout.supervisor_lock):
        return
    try:
        os.kill(supervisor, signal.SIGUSR1)  # "look now": the usual grace is for users that come one after another
    except (ProcessLookupError, PermissionError):
        return
    seen = time.monotonic()
    while held_by_another(layout.supervisor_lock) and time.monotonic() - seen < _STOPPED_WITHIN:
        if layout.state.exists() and time.monotonic() - seen > 1.0:
            return  # it looked and stays: somebody else is there
        time.sleep(0.01)


def _ready(layout: Layout, needs: Sequence[str]) -> bool:
    """The order matters: a state read after a held lock was written by the supervisor that holds it (``_spawn``)."""
    if not held_by_another(layout.supervisor_lock):
        return False
    state = layout.read_state()
    return all(state.get(need) == "ready" for need in needs)


def _start(layout: Layout, needs: Sequence[str]) -> None:
    start = Lock(layout.start_lock)
    try:
        if not start.take(timeout=_READY_WITHIN):
            raise EmbeddedError(
                f"another process has been starting the servers in {layout.data_dir} for {_READY_WITHIN:.0f} s"
            )
        deadline = time.monotonic() + _READY_WITHIN
        spawned = False
        while not _ready(layout, needs):
            if not held_by_another(layout.supervisor_lock):
                if spawned:
                    raise EmbeddedError(str(layout.read_state().get("error") or _unexplained(layout)))
                spawned = True
                _spawn(layout, needs)
            for need in needs:
                layout.want(need).touch(mode=0o600)
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"the embedded servers in {layout.data_dir} are not ready after {_READY_WITHIN:.0f} s: "
                    f"see the logs in {layout.log}"
                )
            time.sleep(0.01)
    finally:
        start.close()


def _spawn(layout: Layout, needs: Sequence[str]) -> None:
    """Start the supervisor, detached; it holds its lock when this returns. What an earlier one left is removed."""
    layout.state.unlink(missing_ok=True)
    for server in ("database", "broker"):
        layout.want(server).unlink(missing_ok=True)
    for need in needs:
        layout.want(need).touch(mode=0o600)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(_PACKAGE_ROOT),
    }
    with (layout.log / "embedded.log").open("ab") as log:
        done = subprocess.run(
            [sys.executable, "-B", "-m", "autoresearch_site.embedded.supervisor", str(layout.data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
            check=False,
        )
    if done.returncode:
        raise EmbeddedError(_unexplained(layout))


def _unexplained(layout: Layout) -> str:
    return f"the supervisor of the embedded servers ended early: see {layout.log / 'embedded.log'}"
