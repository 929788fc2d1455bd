"""What a lineage slice says about transformations: measured gains, failures, costs, and what a parent already holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from specialists.proposers.catalog.catalogue import Catalogue
from specialists.proposers.catalog.resources import Resource
from specialists.proposers.catalog.transform import Transform, Variant
from trials.lineage import Entry, LineageSlice
from trials.vocab import SCORED_LABELS, Direction, Label


@dataclass(frozen=True)
class Step:
    """One transformation at one strength, as a trial used it or a candidate would. ``transform`` is None when the name
    is not in the catalogue (an agent of another kind, an older version): it is evidence about itself only."""

    label: str
    transform: Transform | None
    variant: Variant | None

    @property
    def name(self) -> str:
        return self.label.partition(":")[0]

    @property
    def scale(self) -> float:
        return 1.0 if self.variant is None else self.variant.scale


@dataclass(frozen=True)
class Use:
    """One trial seen as the outcome of its transformations on its parent. ``gain`` is positive when it got better."""

    entry: Entry
    steps: tuple[Step, ...]
    gain: float | None
    context: frozenset[str]


class Evidence:
    """A lineage slice read once. Gains, noise and the scale of gains are in units of the score, positive for the
    better."""

    def __init__(self, view: LineageSlice, limits: Mapping[str, Any], catalogue: Catalogue) -> None:
        self.view, self.limits, self.catalogue = view, limits, catalogue
        self.entries = {entry.number: entry for entry in view.entries()}
        self.sign = -1.0 if view.direction == Direction.LOWER else 1.0
        reference = view.start_score if view.start_score else (view.best.score if view.best else None)
        start = abs(reference) if reference and math.isfinite(reference) else 1.0
        self.scale, self.noise = catalogue.stride * start, catalogue.noise * start

    @cached_property
    def uses(self) -> list[Use]:
        """Every trial of the slice that says which transformations it applied."""
        found = []
        for entry in self.entries.values():
            steps = self.steps_of(entry)
            if steps and entry.label != Label.HARNESS_ABORT:
                delta = entry.delta_vs_parent
                gain = self.sign * delta if delta is not None and math.isfinite(delta) else None
                context = self.context(entry.parent)
                found.append(Use(entry, steps, gain if entry.label in SCORED_LABELS else None, context))
        return found

    def context(self, number: int | None) -> frozenset[str]:
        """Names of the transformations that a trial holds, itself and its ancestors, as far as the slice shows them."""
        names: set[str] = set()
        seen: set[int] = set()
        while number is not None and number not in seen and number in self.entries:
            seen.add(number)
            names |= {step.name for step in self.steps_of(self.entries[number])}
            number = self.entries[number].parent
        return frozenset(names)

    def chain(self, number: int | None) -> set[int]:
        """A trial and its ancestors within the slice."""
        found: set[int] = set()
        while number is not None and number not in found:
            found.add(number)
            number = self.entries[number].parent if number in self.entries else None
        return found

    def held(self, number: int, step: Step) -> tuple[Step, ...]:
        """The newest step that a trial holds and that ``step`` would replace rather than add to."""
        if step.transform is None or not step.transform.sets:
            return ()
        for ancestor in sorted(self.chain(number) & set(self.entries), reverse=True):
            for old in self.steps_of(self.entries[ancestor]):
                if old.name == step.name:
                    return (old,)
        return ()

    def deficit(self, number: int | None) -> float:
        """How much worse than the best a scored trial is (0 for the best and for what the slice does not show)."""
        best, entry = self.view.best, self.entries.get(number) if number is not None else None
        if best is None or best.score is None or entry is None or entry.score is None:
            return 0.0
        return max(0.0, self.sign * (best.score - entry.score))

    def spent(self, entry: Entry, resource: Resource) -> float | None:
        """What a trial used of a resource, where the record says so."""
        return resource.spent(entry, self.limits)

    def limit(self, resource: Resource) -> float | None:
        """What a trial may use of a resource."""
        return resource.limit(self.limits, self.entries.values())

    def growth(self, use: Use, resource: Resource) -> float | None:
        """Log of the factor by which a trial changed its parent's use of a resource."""
        parent = self.entries.get(use.entry.parent) if use.entry.parent is not None else None
        if parent is None:
            return None
        before, after = self.spent(parent, resource), self.spent(use.entry, resource)
        return None if before is None or after is None else math.log(after / before)

    def steps_of(self, entry: Entry) -> tuple[Step, ...]:
        """The transformations that a trial says it applied, in order."""
        labels = entry.proposal.get("transforms") or ()
        return tuple(self._step(label) for label in labels if isinstance(label, str))

    def _step(self, label: str) -> Step:
        found = self.catalogue.parse(label)
        return Step(label, None, None) if found is None else Step(label, *found)
