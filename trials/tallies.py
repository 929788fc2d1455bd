"""What the sums of a campaign are made of: facts of single trials in, cells out. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from trials.vocab import SCORED_LABELS, Direction, Label

MOST = 128
"""Stretches of time, and of trial numbers, at most."""
STRETCH_SECONDS = 56.25
"""The narrowest stretch of time: a 64th of an hour, so that wider ones end with the hour."""
LEVELS_OF_ORIGIN = 2_000
"""Levels of score between nothing and the first score."""
FARTHEST = 4_000
"""Scores further from the first one are counted on the last level."""
WHOLE = -1
ALL_ROLES = ""
SECONDS = ("queue", "run", "eval", "log")
AXES = ("bytes", "seconds", "usd")
SIZES = ("artifact_bytes", "projected_bytes", "source_bytes")


@dataclass(frozen=True)
class Fact:
    """As much of a finished trial as is counted. at: seconds since launch; ms: of queue, run, eval and log.

    usd: what the session that proposed it paid for language models; None where that is nothing, or not known.
    """

    pk: int
    number: int
    role: str
    parent_role: str | None
    label: str
    standing: str
    failure: str
    score: float | None
    artifact_bytes: int | None
    numbers: Mapping[str, Any]
    at: float
    ms: Sequence[int]
    usd: float | None = None

    @property
    def is_ranked(self) -> bool:
        return self.score is not None and math.isfinite(self.score) and self.label in SCORED_LABELS


@dataclass(frozen=True)
class Margin:
    """By how much a boundary was missed; ``share`` of the limit."""

    unit: str
    over: float
    share: float


def power_for(last: float) -> int:
    """The least power of two by which stretches of width 1 have to be widened so that ``last`` is in one of MOST."""
    power = 0
    while last / 2**power >= MOST:
        power += 1
    return power


def stretch(at: float) -> int:
    """The narrowest stretch of time that holds this moment."""
    return int(max(0.0, at) // STRETCH_SECONDS)


def unit_of(origin: float) -> float:
    """Height of a level."""
    return abs(origin) / LEVELS_OF_ORIGIN or 1.0 / LEVELS_OF_ORIGIN


def level_of(score: float, origin: float, unit: float) -> int:
    return max(-FARTHEST, min(FARTHEST, math.floor((score - origin) / unit)))


def miss_level(share: float) -> int:
    """Half powers of ten: 0 for 100 % to 316 % over, -4 for 1 % to 3.16 %; at most 6, at least -12."""
    return max(-12, min(6, math.floor(2 * math.log10(share)))) if share > 0 else -12


def margin_of(label: str, numbers: Mapping[str, Any], size: int | None, limits: Mapping[str, Any]) -> Margin | None:
    """From the exact numbers of an outcome; None where the label has no margin or the numbers do not tell it."""
    if label in SCORED_LABELS or label == Label.HARNESS_ABORT:
        return None
    deficit, gate = numbers.get("deficit"), numbers.get("gate")
    if _is_number(deficit):
        return _margin("accuracy", deficit, gate)
    if label == Label.SIZE_BLOCKED:
        return _bytes_over(numbers, size, limits.get("artifact_bytes"))
    for name, over in numbers.items():
        if name.endswith("_over") and _is_number(over) and over > 0:
            used = numbers.get(name.removesuffix("_over"))
            unit = name.removesuffix("_over").rpartition("_")[2]
            return _margin(unit[:12], over, used - over if _is_number(used) else None)
    return None


def _bytes_over(numbers: Mapping[str, Any], size: int | None, cap: object) -> Margin | None:
    """Of released runs the size is known, and the cap: the excess is their difference."""
    over: object = numbers.get("bytes_over")
    if not _is_number(over):
        over = size - cap if size is not None and _is_number(cap) else None
    if not _is_number(over) or over <= 0:
        return None
    total = next((value for name in SIZES if _is_number(value := numbers.get(name))), size)
    return _margin("bytes", over, total - over if total is not None and total > over else cap)


def _margin(unit: str, over: float, limit: object) -> Margin:
    return Margin(unit, float(over), over / limit if _is_number(limit) and limit > 0 else 0.0)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Point:
    """A trial on the plane of ``x`` (less is better) and score."""

    x: float
    score: float
    number: int
    pk: int


def front(points: Iterable[Point], direction: Direction) -> list[Point]:
    """Points that no other one beats, by rising x; of equal ones the lowest number."""
    sign = 1.0 if direction is Direction.LOWER else -1.0
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.x, sign * one.score, one.number)):
        if not found or sign * point.score < sign * found[-1].score:
            found.append(point)
    return found


def paid(value: object) -> float | None:
    """What a proposal says that its session paid."""
    return float(value) if _is_number(value) and value >= 0 else None


def x_of(fact: Fact, axis: str) -> float | None:
    """Where a trial lies on an axis of a front; None where that is not known."""
    if axis == "bytes":
        return None if fact.artifact_bytes is None else float(fact.artifact_bytes)
    if axis == "usd":
        return fact.usd
    seconds = (fact.ms[1] + fact.ms[2]) / 1000.0
    return seconds or None
