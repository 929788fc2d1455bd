"""An evaluator process says what it has when it starts, and that it is still there every few seconds."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import threading
from dataclasses import asdict

from django.db import close_old_connections, connection

from evaluators import devices, sandbox
from evaluators.harness.identity import fingerprint
from evaluators.sandbox.records import OPERATOR
from evaluators.version import code_version
from trials.services import workers
from trials.services.workers import Capability

logger = logging.getLogger(__name__)
SPEAK_SECONDS = 5.0
WANTED_LEVEL = "L4" if os.environ.get(OPERATOR) else "L3"
"""Another kernel is wanted where an operator has named a command that leads to one."""
NAME_LENGTH = 120
KINDS = ("cpu", "cuda")


def worker_name() -> str:
    """Unique among live workers: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def capability(device: str) -> Capability:
    """What this process has; runs the sandbox's self-test the first time.

    Raises ValueError for an unknown kind, evaluators.devices.Unavailable for one that this host does not have.
    """
    if device not in KINDS:
        raise ValueError(f"device kind {device!r} is unknown, expected one of {', '.join(KINDS)}")
    found = () if device == "cpu" else devices.accelerators(device)
    machine = fingerprint(found)
    try:
        isolation = sandbox.reach(WANTED_LEVEL, start="warm").to_json()
    except sandbox.SandboxUnavailable as error:
        isolation = {"level": "", "why_lower": str(error)}
    memory = min((one.memory_bytes for one in found), default=0)
    return Capability(
        name=worker_name(),
        device=device,
        device_name=str(machine.get("device") or machine["cpu"])[:NAME_LENGTH],
        devices=len(found) or 1,
        memory_bytes=memory if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        level=str(isolation["level"]),
        details={
            "machine": machine,
            "isolation": isolation,
            "accelerators": [asdict(one) for one in found],
            "version": code_version(),
        },
    )


class Announcer:
    """Keeps one worker's row fresh from a thread of its own until ``stop``; a database that is away is waited for."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"announce-{device}", daemon=True)

    def start(self) -> None:
        """Announce, then go on speaking."""
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Leave the list of workers."""
        self._done.set()
        self._thread.join(SPEAK_SECONDS)

    def _run(self) -> None:
        try:
            found = capability(self._device)
            with contextlib.suppress(sandbox.SandboxUnavailable):  # cold: the first script need not wait for that test
                sandbox.reach(WANTED_LEVEL)
            while not self._done.is_set():
                self._speak(found)
                self._done.wait(SPEAK_SECONDS)
            workers.leave(found.name)
        except (devices.Unavailable, ValueError) as error:
            logger.error("worker %s does not announce itself for %s: %s", worker_name(), self._device, error)
        except Exception:  # whatever it is, measuring goes on without an announcement
            logger.exception("worker %s does not announce itself any more", worker_name())
        finally:
            connection.close()

    def _speak(self, found: Capability) -> None:
        try:
            if not workers.seen(found.name):
                workers.announce(found)
        except Exception:
            logger.exception("worker %s could not say that it is there", found.name)
            close_old_connections()
