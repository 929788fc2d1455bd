"""What can be said of a recipe before any budget is spent: nothing here runs recipe code."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from evaluators import syntax
from evaluators.contract import EnvironmentSpec, Measurement
from trials.vocab import Label

MAX_SOURCE_BYTES = 1_000_000
#: Python's parser takes time in the square of a file's size (one f-string of 900 kB: 70 s, of 250 kB: 5 s) and lets
#: nobody else run meanwhile, not even the heartbeat of the lease.
MAX_PYTHON_BYTES = 150_000
STRANGERS_LOOKED_AT = 1000
#: Files whose syntax is remembered: a session asks several times for the same ones, and most are those of the parent.
REMEMBERED_FILES = 64


@dataclass(frozen=True)
class Refusal:
    """Why a recipe is not measured at all; always ends as ``preflight_crash``."""

    reason: str
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)


def check(
    spec: EnvironmentSpec,
    source: Mapping[str, bytes],
    *,
    parent: Mapping[str, bytes] | None,
    surface: Sequence[str],
) -> Refusal | None:
    """None when the recipe may be measured. ``parent`` None: judged by hand or the start, so any file may differ."""
    return _names(spec, source) or _size(source) or _syntax(source) or _surface(source, parent, surface)


def refusal(
    spec: EnvironmentSpec, source: Mapping[str, bytes], parent: Mapping[str, bytes], surface: Sequence[str]
) -> str:
    """Why ``check`` would refuse this edit, empty when it would not: what a proposer may ask for free."""
    refused = check(spec, source, parent=parent, surface=surface)
    return "" if refused is None else refused.reason


def _names(spec: EnvironmentSpec, source: Mapping[str, bytes]) -> Refusal | None:
    expected = {*spec.files, *spec.joins}
    missing, extra = sorted(expected - set(source)), sorted(set(source) - expected)
    if missing:
        return Refusal(f"{missing[0]} is missing, expected {len(expected)} files", {"file": missing[0]})
    if extra:
        return Refusal(f"{extra[0]} does not belong to the recipe", {"file": extra[0]})
    return None


def _size(source: Mapping[str, bytes]) -> Refusal | None:
    total = sum(len(data) for data in source.values())
    if total > MAX_SOURCE_BYTES:
        numbers = {"source_bytes": total, "bytes_over": total - MAX_SOURCE_BYTES}
        return Refusal(f"the source has {total} bytes, at most {MAX_SOURCE_BYTES} are read", numbers)
    for name, size in sorted((name, len(data)) for name, data in source.items() if name.endswith(".py")):
        if size > MAX_PYTHON_BYTES:
            numbers = {"source_bytes": size, "bytes_over": size - MAX_PYTHON_BYTES}
            return Refusal(f"{name} has {size} bytes, at most {MAX_PYTHON_BYTES} of Python are parsed", numbers)
    return None


def _syntax(source: Mapping[str, bytes]) -> Refusal | None:
    return next(filter(None, (_parsed(name, source[name]) for name in sorted(source))), None)


@lru_cache(maxsize=REMEMBERED_FILES)
def _parsed(name: str, data: bytes) -> Refusal | None:
    try:
        text = data.decode("utf-8")
        if name.endswith(".py"):
            syntax.read(text, name)
    except UnicodeDecodeError as error:
        return Refusal(f"{name} is not UTF-8 at byte {error.start}", {"file": name, "byte": error.start})
    except SyntaxError as error:
        if not error.lineno:
            return Refusal(f"{name} cannot be parsed: {error.msg}", {"file": name})
        return Refusal(f"{name} line {error.lineno}: {error.msg}", {"file": name, "line": error.lineno})
    except (ValueError, RecursionError, MemoryError) as error:
        return Refusal(f"{name} cannot be parsed: {error}", {"file": name})
    return None


def _surface(source: Mapping[str, bytes], parent: Mapping[str, bytes] | None, surface: Sequence[str]) -> Refusal | None:
    if parent is None:
        return None
    outside = sorted(name for name, data in source.items() if data != parent.get(name) and name not in surface)
    if outside:
        return Refusal(f"{outside[0]} is outside the role's surface", {"file": outside[0]})
    return None


def measurement(refused: Refusal, spec: EnvironmentSpec, *, seed: int, split: str) -> Measurement:
    """The refusal as a measurement that the judge can read."""
    return Measurement(
        status=Label.PREFLIGHT_CRASH,
        reason=refused.reason,
        seed=seed,
        split=split,
        numbers=refused.numbers,
        excerpt=refused.reason,
        score_source=spec.score_source,
    )


def read_folder(spec: EnvironmentSpec, folder: Path) -> dict[str, bytes]:
    """The recipe files of a folder; other files in it are not looked at.

    Raises ValueError for a folder or file that is missing, not readable, a link, no plain file or too large: nothing
    is followed, waited for, or read beyond the cap.
    """
    names = sorted({*spec.files, *spec.joins})
    with contextlib.closing(_Folder(folder)) as opened:
        return {name: opened.read(name, len(names)) for name in names}


def refuse_strangers(spec: EnvironmentSpec, folder: Path) -> None:
    """Raises ValueError for a file or folder that is not the recipe's: its author would believe that it is used.

    Hidden names and ``__pycache__`` are left alone.
    """
    names = sorted({*spec.files, *spec.joins})
    known = {PurePosixPath(name).parts[0] for name in names} | {"__pycache__"}
    with os.scandir(folder) as entries:
        others = (entry.name for entry in entries if entry.name not in known and not entry.name.startswith("."))
        found = sorted(itertools.islice(others, STRANGERS_LOOKED_AT))
    if found:
        raise ValueError(f"{folder / found[0]} does not belong to the recipe, expected only {', '.join(names)}")


class _Folder:
    """A folder that stays the same one while it is read, whatever happens to its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ValueError(f"{path} is missing, expected a folder with the recipe's files") from None
        except NotADirectoryError:
            raise ValueError(f"{path} is not a folder, expected one with the recipe's files") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be opened ({error.strerror}), expected a readable folder") from None

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, name: str, of: int) -> bytes:
        """Content of one of the recipe's ``of`` files. Raises ValueError."""
        path = self._path / name
        try:
            with contextlib.ExitStack() as opened:
                inside = self._descriptor
                *folders, last = PurePosixPath(name).parts
                for part in folders:
                    inside = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
                    opened.callback(os.close, inside)
                if not stat.S_ISREG(os.stat(last, dir_fd=inside, follow_symlinks=False).st_mode):
                    raise ValueError(f"{path} is not a plain file, expected one of the recipe's {of} files")
                # It may be replaced in this moment: still nothing is followed and nobody's other end is waited for.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with open(os.open(last, flags, dir_fd=inside), "rb") as stream:
                    size = os.fstat(stream.fileno()).st_size
                    data = stream.read(MAX_SOURCE_BYTES + 1) if size <= MAX_SOURCE_BYTES else b""
        except FileNotFoundError:
            raise ValueError(f"{path} is missing, expected the recipe's {of} files") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}), expected a plain file") from None
        if max(size, len(data)) > MAX_SOURCE_BYTES:
            raise ValueError(f"{path} has {max(size, len(data))} bytes, expected at most {MAX_SOURCE_BYTES}")
        return data


def read_recipe(spec: EnvironmentSpec, profile: str = "") -> dict[str, bytes]:
    """The starting recipe, at a profile that may have files of its own. Raises ValueError when a file is missing."""
    source = read_folder(spec, spec.recipe_dir)
    own = spec.starts.get(profile)
    return source if own is None else source | {path.name: path.read_bytes() for path in sorted(own.glob("*.py"))}
