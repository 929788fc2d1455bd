"""Which code a worker runs, so that what two versions measured beside each other can be told apart."""

from __future__ import annotations

import functools
import tomllib
from hashlib import sha256
from pathlib import Path

from django.conf import settings

ROOMS = ("trials", "evaluators", "specialists", "autoresearch_site")


@functools.cache
def code_version() -> str:
    """``CODE_VERSION`` where the operator names it; else the project's version and the beginning of a hash of all its
    Python files, as they were when this process asked first."""
    if settings.CODE_VERSION:
        return str(settings.CODE_VERSION)
    root = Path(settings.BASE_DIR)
    digest = sha256()
    for path in sorted(found for room in ROOMS for found in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0{sha256(path.read_bytes()).hexdigest()}\n".encode())
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return f"{version}+{digest.hexdigest()[:12]}"
