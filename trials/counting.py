"""What a report counts, as plain arithmetic over outcomes in trial order. Pure: rows in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trials import diversity
from trials.vocab import Label

IMPROVES = frozenset({Label.KEEP})
VALID = frozenset({Label.DISCARD, Label.PROVISIONAL})


@dataclass(frozen=True)
class Outcome:
    """One finished trial but the baseline.

    counted: whether it is a trial of the search at all; infrastructure: a failure of harness or host. seconds: run,
    eval and log together. repairs: the trial that its proposer says it repairs.
    """

    number: int
    role: str
    label: str
    parent: int | None
    parent_role: str
    hypothesis: str
    at: datetime
    seconds: float
    counted: bool
    infrastructure: bool
    repairs: int | None = None


def shares(labels: Mapping[str, int]) -> dict[str, float]:
    """Each label's share of all, in [0, 1]."""
    total = sum(labels.values())
    return {label: count / total for label, count in labels.items()}


def rate(outcomes: Sequence[Outcome]) -> float | None:
    """Trials per hour: N / (last record time - first one's record time); None below two moments."""
    if not outcomes:
        return None
    hours = (max(row.at for row in outcomes) - outcomes[0].at).total_seconds() / 3600
    return len(outcomes) / hours if hours > 0 else None


def efficiency(per_hour: float | None, outcomes: Sequence[Outcome], slots: int) -> float | None:
    """eta = T(N) / (N T(1)), with T(1) from the mean seconds of a trial that waits for nobody."""
    busy = sum(row.seconds for row in outcomes)
    if per_hour is None or not busy:
        return None
    return per_hour * (busy / len(outcomes)) / 3600 / slots


def figures(outcomes: Sequence[Outcome], slots: int) -> dict[str, Any]:
    """Trials, labels, rates, throughput and diversity of some of a campaign's outcomes."""
    labels = dict(Counter(row.label for row in outcomes))
    per_hour = rate(outcomes)
    return {
        "trials": len(outcomes),
        "labels": labels,
        "label_rates": shares(labels),
        "trials_per_hour": per_hour,
        "parallel_efficiency": efficiency(per_hour, outcomes, slots),
        "diversity": diversity.as_record(diversity.measure([row.hypothesis for row in outcomes])),
    }


def diversity_by_role(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """How different the ideas of each role are among themselves; rare words are those that are rare in all of them."""
    ideas: dict[str, list[str]] = {}
    for row in outcomes:
        ideas.setdefault(row.role, []).append(row.hypothesis)
    found = diversity.compare(list(ideas.values()))
    return {role: diversity.as_record(one) for role, one in zip(ideas, found, strict=True)}


def profiles(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """By role: trials, keeps, labels, and how its trials came out; roles in the order of their first trial."""
    roles: dict[str, dict[str, Any]] = {}
    for row in outcomes:
        role = roles.setdefault(
            row.role,
            {"trials": 0, "keeps": 0, "labels": {}, "improves": 0, "valid": 0, "not_compliant": 0, "infrastructure": 0},
        )
        role["trials"] += 1
        role["labels"][row.label] = role["labels"].get(row.label, 0) + 1
        role["keeps"] += row.label == Label.KEEP
        role[_came_out(row)] += 1
    return roles


def _came_out(row: Outcome) -> str:
    if row.infrastructure:
        return "infrastructure"
    return "improves" if row.label in IMPROVES else "valid" if row.label in VALID else "not_compliant"


def crossings(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Of the keeps whose parent is a trial (not the start): how many have a parent of another role."""
    pairs = [(row.role, row.parent_role) for row in outcomes if row.label == Label.KEEP and row.parent]
    return {"n": sum(role != parent for role, parent in pairs), "of": len(pairs)}
