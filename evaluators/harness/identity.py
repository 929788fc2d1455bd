"""Which machine measured, and with which code."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from hashlib import sha256
from pathlib import Path

from evaluators.child.frames import pack_files

ROOT = Path(__file__).resolve().parent.parent
SHARED = ("child", "harness", "sandbox")


@functools.cache
def fingerprint() -> dict[str, object]:
    """What two measurements must share to be compared bit by bit: processor, cores, Python, torch, numpy."""
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
