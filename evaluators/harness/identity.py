"""Which machine measured, and with which code."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from evaluators import devices
from evaluators.child.frames import pack_files

ROOT = Path(__file__).resolve().parent.parent
SHARED = ("child", "harness", "sandbox")


def fingerprint(used: Sequence[devices.Accelerator] | None = None) -> dict[str, object]:
    """What two measurements must share to be compared bit by bit: processor, cores, Python, torch, numpy.

    With accelerators also their names, count, driver and least memory in bytes. used: None for those that the context
    holds (``devices.held``), which are those of the measurement that runs.
    """
    chosen = devices.held() if used is None else used
    return _host() | (_accelerated(chosen) if chosen else {})


def _accelerated(used: Sequence[devices.Accelerator]) -> dict[str, object]:
    """Two of a kind are one machine: neither number nor UUID tells them apart."""
    return {
        "device": ", ".join(sorted({one.name for one in used})),
        "devices": len(used),
        "driver": ", ".join(sorted({one.driver for one in used})),
        "device_memory_bytes": min(one.memory_bytes for one in used),
    }


@functools.cache
def _host() -> dict[str, object]:
    return {
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "numpy": importlib.metadata.version("numpy"),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


@functools.cache
def code_sha256(environment: str, own: Path | None = None) -> str:
    """Hash of all evaluator code that a measurement of an environment depends on; its recipe is not part of it.

    own: the environment's folder where it is not one of this package's.
    """
    folders = {ROOT / name: name for name in SHARED}
    folders[own or ROOT / "environments" / environment] = f"environments/{environment}"
    files = {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for folder, name in folders.items()
        for path in folder.rglob("*.py")
        if not any(part.startswith("recipe") for part in path.relative_to(folder).parent.parts)
    }
    return sha256(pack_files(files)).hexdigest()
