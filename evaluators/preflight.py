"""What can be said of a recipe before any budget is spent: nothing here runs recipe code."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluators.contract import EnvironmentSpec, Measurement
from trials.vocab import Label

MAX_SOURCE_BYTES = 1_000_000


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
    return None


def _syntax(source: Mapping[str, bytes]) -> Refusal | None:
    for name in sorted(source):
        try:
            text = source[name].decode("utf-8")
            if name.endswith(".py"):
                ast.parse(text, filename=name)
        except UnicodeDecodeError as error:
            return Refusal(f"{name} is not UTF-8 at byte {error.start}", {"file": name, "byte": error.start})
        except SyntaxError as error:
            line = error.lineno or 0
            return Refusal(f"{name} line {line}: {error.msg}", {"file": name, "line": line})
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
    """The recipe files of a folder. Raises ValueError for a missing file, a link, or one that is too large."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder, expected one with the recipe's files")
    source: dict[str, bytes] = {}
    for name in sorted({*spec.files, *spec.joins}):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path} is missing or not a plain file, expected one of the recipe's {len(spec.files)}")
        if path.stat().st_size > MAX_SOURCE_BYTES:
            raise ValueError(f"{path} has {path.stat().st_size} bytes, expected at most {MAX_SOURCE_BYTES}")
        source[name] = path.read_bytes()
    return source


def read_recipe(spec: EnvironmentSpec, profile: str = "") -> dict[str, bytes]:
    """The starting recipe, at a profile that may have files of its own. Raises ValueError when a file is missing."""
    source = read_folder(spec, spec.recipe_dir)
    own = spec.starts.get(profile)
    return source if own is None else source | {path.name: path.read_bytes() for path in sorted(own.glob("*.py"))}
