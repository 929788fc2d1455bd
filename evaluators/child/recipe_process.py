"""What every recipe process does alike, whatever its protocol: settle generators, import the recipe, tell a failure."""

from __future__ import annotations

import importlib
import json
import linecache
import random
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import frames
import numpy as np
import torch

FOLDER = "recipe"
EXCERPT_CHARACTERS = 600


@dataclass(frozen=True)
class Budget:
    """What a phase may spend: units (of compute, or milliseconds; None: not counted) and seconds."""

    units: int | None
    seconds: float
    spent: Callable[[], int]


class Clock:
    """Milliseconds since it was made, where they are the units of a budget. The evaluator has a clock of its own."""

    def __init__(self) -> None:
        self._began = time.monotonic_ns()

    def __enter__(self) -> None:
        """Nothing begins: the clock has been running."""

    def __exit__(self, *_: object) -> None:
        """Nothing ends."""

    @property
    def units(self) -> int:
        """Milliseconds so far."""
        return (time.monotonic_ns() - self._began) // 1_000_000


class Failed(Exception):
    """A recipe did what its contract does not allow."""


def import_recipe(folder: Path, packed: bytes) -> ModuleType:
    """Write packed sources to ``folder`` and import recipe.py from there."""
    folder.mkdir()
    for name, body in frames.unpack_files(packed).items():
        (folder / name).write_bytes(body)
    sys.path.insert(0, str(folder))
    return importlib.import_module("recipe")


def failure(stage: str, error: BaseException, folder: Path) -> bytes:
    """The content of a FAILED frame: why and where the recipe ended."""
    said = {
        "stage": stage,
        "reason": "memory" if is_memory(error) else last_line(error),
        "excerpt": excerpt(error, folder),
        "contract": isinstance(error, Failed),
    }
    return json.dumps(said).encode()


def is_memory(error: BaseException) -> bool:
    """Whether an allocation was refused."""
    words = ("not enough memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def last_line(error: BaseException) -> str:
    """Type and message of an exception, one line."""
    try:
        lines = traceback.format_exception_only(error)
    except Exception:  # an exception of the recipe's own making may refuse to be printed
        return type(error).__name__
    return " ".join(lines[-1].split())[:EXCERPT_CHARACTERS]


def excerpt(error: BaseException, folder: Path) -> str:
    """The deepest exception line and the deepest frame inside the recipe."""
    deepest, inside = None, str(folder)
    for frame, number in traceback.walk_tb(error.__traceback__):  # of a recursion there may be millions
        if frame.f_code.co_filename.rpartition("/")[0] == inside:
            deepest = frame.f_code, number
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{Path(error.filename).name}:{error.lineno}"
    elif deepest is not None:
        code, number = deepest
        line = linecache.getline(code.co_filename, number).strip()
        where = f"{Path(code.co_filename).name}:{number} in {code.co_name}: {line}"
    else:
        where = "outside the recipe's files"
    return f"{last_line(error)}\n{where}"[: 2 * EXCERPT_CHARACTERS]


def settle(seed: int, threads: int) -> None:
    """One state of all generators, whatever the recipe forgets to seed."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
