"""The tree of trials, piece by piece: a line of ancestors at any depth, and what else was built on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models.functions import Left

from trials.models import Campaign, Trial

HEAD, WINDOW, TAIL = 2, 20, 10
"""Ancestors that are shown from the root on, of a gap that is opened, and up to the trial that is asked for."""
CHILDREN = 12
LOOK = 1_000
"""Children that are looked through for a role or a label, at most; older ones on demand."""
COUNTED = 99
HYPOTHESIS = 200
EVIDENCE = 8


@dataclass(frozen=True)
class Node:
    """One trial and the edge to its parent. children: trials built on it, at most COUNTED + 1."""

    pk: int
    number: int
    parent: int | None
    depth: int
    role: str
    state: str
    standing: str
    score: float | None
    gain: float | None
    hypothesis: str
    children: int = 0


@dataclass(frozen=True)
class Gap:
    """Ancestors of depths first..last that are not shown."""

    first: int
    last: int

    @property
    def trials(self) -> int:
        return self.last - self.first + 1

    @property
    def middle(self) -> int:
        """Where a window in the middle begins."""
        return max(self.first, self.first + (self.trials - WINDOW) // 2)

    @property
    def end(self) -> int:
        """Where the last window begins."""
        return max(self.first, self.last - WINDOW + 1)

    @property
    def long(self) -> bool:
        """Whether it takes more than one window to show it."""
        return self.trials > WINDOW


Part = Node | Gap


@dataclass(frozen=True)
class Choice:
    """Which neighbours are asked for; empty: any."""

    role: str = ""
    standing: str = ""


@dataclass(frozen=True)
class Children:
    """A page of what was built on a trial, newest first. after: where the next page begins, None at the end.

    looked: how many were looked through, where a choice was asked for.
    """

    nodes: Sequence[Node] = field(default_factory=tuple)
    after: int | None = None
    looked: int | None = None


def nodes(campaign: Campaign, **which: Any) -> list[Node]:
    """Trials with how many were built on each, by depth and number."""
    rows = (
        Trial.objects.of(campaign.pk)
        .filter(**which)
        .order_by("depth", "number")
        .values_list(
            "pk", "number", "parent__number", "depth", "role", "state", "standing", "score", "delta_vs_parent",
            Left("hypothesis", HYPOTHESIS),
        )
    )  # fmt: skip
    found = list(rows)
    counts = Trial.objects.count_children([row[0] for row in found], COUNTED + 1) if found else {}
    return [Node(*(*row, counts.get(row[0], 0))) for row in found]


def line(campaign: Campaign, trial: Trial, at: int | None = None) -> list[Part]:
    """A trial and its ancestors, oldest first: both ends, and where ``at`` is a depth a window from there on."""
    spans = [(0, HEAD - 1), (trial.depth - TAIL, trial.depth)]
    if at is not None and 0 <= at <= trial.depth:
        spans.append((at, at + WINDOW - 1))
    return _joined(campaign, trial, Gap(0, trial.depth), spans)


def opened(campaign: Campaign, trial: Trial, gap: Gap, at: int) -> list[Part]:
    """A gap of the line to ``trial`` with a window from depth ``at`` on in place of a part of it."""
    gap = Gap(max(gap.first, 0), min(gap.last, trial.depth))
    begins = min(max(at, gap.first), gap.end)
    return _joined(campaign, trial, gap, [(begins, min(begins + WINDOW - 1, gap.last))])


def _joined(campaign: Campaign, trial: Trial, whole: Gap, spans: Sequence[tuple[int, int]]) -> list[Part]:
    """The nodes of these spans of depths with gaps between them."""
    runs = _runs(whole, spans)
    numbers = [number for low, high in runs for number in Trial.objects.ancestors(trial, low, high)]
    found = nodes(campaign, number__in=numbers)
    parts: list[Part] = []
    expected = whole.first
    for node in found:
        if node.depth > expected:
            parts.append(Gap(expected, node.depth - 1))
        parts.append(node)
        expected = node.depth + 1
    return [*parts, Gap(expected, whole.last)] if expected <= whole.last else parts


def _runs(whole: Gap, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans within ``whole`` in order, none touching another; what would leave a gap of one is stretched over it."""
    found: list[tuple[int, int]] = []
    for begins, ends in sorted(spans):
        low = whole.first if begins <= whole.first + 1 else begins
        high = whole.last if ends >= whole.last - 1 else ends
        if low > high or ends < whole.first or begins > whole.last:
            continue
        if found and low <= found[-1][1] + 2:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def children(campaign: Campaign, parent: Trial, choice: Choice, *, after: int | None, without: int | None) -> Children:
    """What was built on ``parent`` below number ``after``, newest first. without: a number that stands elsewhere."""
    rows = Trial.objects.of(campaign.pk).filter(parent=parent)
    if after is not None:
        rows = rows.filter(number__lt=after)
    if without is not None:
        rows = rows.exclude(number=without)
    if choice == Choice():
        numbers = list(rows.newest(CHILDREN + 1).values_list("number", flat=True))
        further = numbers[CHILDREN - 1] if len(numbers) > CHILDREN else None
        return Children(_newest(campaign, numbers[:CHILDREN]), further)
    window = list(rows.newest(LOOK).values_list("number", "role", "standing"))
    meant = [
        number for number, role, standing in window if choice.role in ("", role) and choice.standing in ("", standing)
    ]
    if len(meant) > CHILDREN:
        return Children(_newest(campaign, meant[:CHILDREN]), meant[CHILDREN - 1], len(window))
    return Children(_newest(campaign, meant), window[-1][0] if len(window) == LOOK else None, len(window))


def _newest(campaign: Campaign, numbers: Sequence[int]) -> list[Node]:
    return sorted(nodes(campaign, number__in=numbers), key=lambda node: -node.number) if numbers else []


def evidence_of(trial: Trial) -> list[int]:
    """Trials that the agent named as its reasons, beside the parent."""
    told = trial.proposal.get("evidence")
    found = [item for item in told if type(item) is int and 0 <= item < trial.number] if isinstance(told, list) else []
    return [number for number in dict.fromkeys(found) if trial.parent is None or number != trial.parent.number][
        :EVIDENCE
    ]
