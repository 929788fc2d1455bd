"""What a profile limits, as the catalogue sees it: how much a trial used, what may be used, how a miss is told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from trials.lineage import Entry
from trials.vocab import Label

Numbers = Mapping[str, Any]


class Resource(Protocol):
    """One limit.

    name: what it is called in the record; label: what a trial that breaks it is called; direction: the field of a
    transformation that says which way it moves this; growth: expected log growth for a direction of 1 at scale 1; near:
    a trial that is further over the limit than this share is no near miss.
    """

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> Label: ...
    @property
    def direction(self) -> str: ...
    @property
    def growth(self) -> float: ...
    @property
    def near(self) -> float: ...

    def spent(self, entry: Entry, limits: Numbers) -> float | None:
        """What a trial used, where its record says so."""

    def limit(self, limits: Numbers, entries: Iterable[Entry]) -> float | None:
        """What a trial may use; None where nothing says so."""

    def miss(self, entry: Entry, limits: Numbers) -> str:
        """By how much a failed trial missed, and what a repair should do, in words behind ``trial n was``."""


@dataclass(frozen=True)
class Bytes:
    """Size of the artifact with its code."""

    name: str = "artifact_bytes"
    label: Label = Label.SIZE_BLOCKED
    direction: str = "size"
    growth: float = 0.15
    near: float = 0.8

    def spent(self, entry: Entry, limits: Numbers) -> float | None:
        over = entry.numbers.get("bytes_over") if Label(entry.label) == self.label else None
        return _positive(_or_over(entry.artifact_bytes, over, limits.get(self.name)))

    def limit(self, limits: Numbers, entries: Iterable[Entry]) -> float | None:
        return _positive(limits.get(self.name))

    def miss(self, entry: Entry, limits: Numbers) -> str:
        return _over(self, "bytes", entry, limits)


@dataclass(frozen=True)
class Units:
    """Deterministic compute units of a phase; ``words`` says which. Over only beyond the profile's tolerance."""

    name: str
    label: Label
    direction: str
    growth: float
    near: float
    words: str

    def spent(self, entry: Entry, limits: Numbers) -> float | None:
        used = entry.numbers.get(self.name)
        if Label(entry.label) != self.label:
            return _positive(used)
        used = used if is_number(used) else entry.numbers.get("units")
        return _positive(_or_over(used, entry.numbers.get("units_over"), limits.get(self.name)))

    def limit(self, limits: Numbers, entries: Iterable[Entry]) -> float | None:
        units = _positive(limits.get(self.name))
        return None if units is None else units * _tolerated(limits)

    def miss(self, entry: Entry, limits: Numbers) -> str:
        return _over(self, self.words, entry, limits)


@dataclass(frozen=True)
class TrainingShare:
    """CPU seconds of the training, as a share of what the profile allows. The evaluator stops a run that is far over,
    so the share of a failed one is a lower bound."""

    name: str = "budget_used"
    label: Label = Label.TRAIN_BUDGET_OVERRUN
    direction: str = "train"
    growth: float = 0.1
    near: float = 0.5

    def spent(self, entry: Entry, limits: Numbers) -> float | None:
        return _positive(entry.numbers.get(self.name))

    def limit(self, limits: Numbers, entries: Iterable[Entry]) -> float | None:
        return _tolerated(limits)

    def miss(self, entry: Entry, limits: Numbers) -> str:
        used, cap = self.spent(entry, limits), entry.numbers.get("cap_reference_seconds")
        over = f"{(used - 1.0) * cap:.1f} reference seconds" if used and is_number(cap) else "a little"
        return f"{over} over its budget and this should bring it back under"


@dataclass(frozen=True)
class GateError:
    """Share of wrong answers; the limit is what the gate on the accuracy leaves."""

    name: str = "error"
    label: Label = Label.DISQUALIFIED
    direction: str = "error"
    growth: float = 0.03
    near: float = 0.12

    def spent(self, entry: Entry, limits: Numbers) -> float | None:
        correct, scored = entry.numbers.get("correct"), entry.numbers.get("scored")
        if not is_number(correct) or not is_number(scored) or scored <= 0:
            return None
        return _positive(1.0 - correct / scored)

    def limit(self, limits: Numbers, entries: Iterable[Entry]) -> float | None:
        gates = (entry.numbers.get("gate") for entry in entries)
        return next((_positive(1.0 - gate) for gate in gates if is_number(gate)), None)

    def miss(self, entry: Entry, limits: Numbers) -> str:
        deficit = entry.numbers.get("deficit")
        below = f"{deficit:.5f}" if is_number(deficit) else "a little"
        return f"{below} below the gate and this should lift it over"


def _over(resource: Resource, words: str, entry: Entry, limits: Numbers) -> str:
    spent = resource.spent(entry, limits)
    over = f"{spent - limits.get(resource.name, 0):,.0f} {words}" if spent else "a little"
    return f"{over} over its limit and this should bring it back under"


def _or_over(used: object, over: object, limit: object) -> object:
    """What was used, or the limit and the excess together where only those are known."""
    if not is_number(used) and is_number(over) and is_number(limit):
        return limit + over
    return used


def _positive(value: object) -> float | None:
    return float(value) if is_number(value) and value > 0 else None


def _tolerated(limits: Numbers) -> float:
    """The factor by which a budget may be passed before a trial is called over."""
    tolerance = limits.get("unit_tolerance", 0.0)
    return 1.0 + tolerance if is_number(tolerance) else 1.0


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
