"""Repair chains: a trial that missed a boundary, and the valid trials that mend it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trials.vocab import Label

#: A sound idea over a limit: what the next trial can mend by a smaller program, less time, a little more accuracy.
BOUNDARY_LABELS = frozenset(
    {Label.SIZE_BLOCKED, Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN, Label.DISQUALIFIED}
)
VALID_LABELS = frozenset({Label.KEEP, Label.PROVISIONAL, Label.DISCARD})
NAMED = re.compile(r"\b(?:exp[_ ]?|trial #?)0*(\d{1,9})\b", re.IGNORECASE)
MAX_LINKS = 64


@dataclass(frozen=True)
class Attempt:
    """What of a trial matters here. ``repairs``: the trial that its proposer said it repairs, if any."""

    number: int
    label: str
    parent: int | None
    hypothesis: str
    repairs: int | None = None


@dataclass(frozen=True)
class Repair:
    """``failures``: numbers of boundary failures in a row, oldest first; ``mended_by``: the valid trial after them.

    by: how the last link is known: ``parent`` (built on it), ``repairs`` (its proposer says so), ``named`` (its
    hypothesis names the number).
    """

    failures: Sequence[int]
    mended_by: int
    label: str
    by: str


def chains(attempts: Iterable[Attempt]) -> list[Repair]:
    """Every valid trial that leads back to a boundary failure, by its number; failures before that one belong to it."""
    known: dict[int, Attempt] = {}
    found = []
    for attempt in attempts:
        known[attempt.number] = attempt
    for attempt in known.values():
        if attempt.label not in VALID_LABELS:
            continue
        for failed, by in _failures(attempt, known).items():
            found.append(Repair(_back(failed, known), attempt.number, attempt.label, by))
    return found


def _failures(attempt: Attempt, known: Mapping[int, Attempt]) -> dict[int, str]:
    """Earlier boundary failures that a trial takes up, and how that is known."""
    links = [
        (attempt.parent, "parent"),
        (attempt.repairs, "repairs"),
        *((int(number), "named") for number in NAMED.findall(attempt.hypothesis)[:MAX_LINKS]),
    ]
    found: dict[int, str] = {}
    for number, by in links:
        other = None if number is None else known.get(number)
        if other is not None and other.number < attempt.number and other.label in BOUNDARY_LABELS:
            found.setdefault(other.number, by)
    return found


def _back(number: int, known: Mapping[int, Attempt]) -> list[int]:
    """The failure and those that it took up itself, one each, oldest first. Numbers only fall, so this ends."""
    path = [number]
    while len(path) < MAX_LINKS and (before := _failures(known[path[-1]], known)):
        path.append(max(before))
    return path[::-1]
