"""Rollups, and the sums that pages read, are what all finished trials add up to: counted again, beside what is kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trials import tallies
from trials.invariants.violation import Violation
from trials.models import Campaign, Rollup
from trials.services.tallies import MS, facts_of
from trials.tallies import ALL_ROLES, WHOLE, Fact, Point
from trials.tally_models import FrontPoint, Miss, MissTally, ParentTally, ReasonTally, ScoreColumn, Tally, TallyScale
from trials.vocab import Direction, Label

SECONDS_APART = 1e-4
"""Seconds by which a rollup may differ for each of its trials: they are rounded to milliseconds here, added there."""


class Recount:
    """All sums of a campaign, from facts of its finished trials. Memory: the sums, and a point for each front."""

    def __init__(self, campaign: Campaign, scale: TallyScale) -> None:
        self.campaign, self.scale = campaign, scale
        self.rollups: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
        self.tallies: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
        self.columns: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        self.reasons: dict[tuple[str, str], tuple[int, int]] = {}
        self.parents: dict[tuple[str, str], tuple[int, int]] = {}
        self.levels: Counter[tuple[str, int]] = Counter()
        self.misses = 0
        self.fronts: dict[str, list[Point]] = {axis: [] for axis in tallies.AXES}
        self.scores: set[float] = set()

    def add(self, facts: Sequence[Fact]) -> None:
        """Count some more trials."""
        limits = self.campaign.spec.get("profile", {}).get("limits", {})
        for fact in facts:
            self._cells(fact)
            if fact.failure:
                count, newest = self.reasons.get((fact.label, fact.failure), (0, 0))
                self.reasons[fact.label, fact.failure] = (count + 1, max(newest, fact.number))
                margin = tallies.margin_of(fact.label, fact.numbers, fact.artifact_bytes, limits)
                if margin is not None:
                    self.misses += 1
                    self.levels[fact.label, tallies.miss_level(margin.share)] += 1
            if fact.label not in (Label.BASELINE, Label.HARNESS_ABORT):
                pair = (fact.role, fact.parent_role or "")
                count, keeps = self.parents.get(pair, (0, 0))
                self.parents[pair] = (count + 1, keeps + (fact.standing == Label.KEEP))
        ranked = [fact for fact in facts if fact.is_ranked]
        for axis, points in self.fronts.items():
            fresh = [
                Point(x, fact.score, fact.number, fact.pk)
                for fact in ranked
                if fact.score is not None and (x := tallies.x_of(fact, axis)) is not None
            ]
            self.fronts[axis] = tallies.front([*points, *fresh], Direction(self.campaign.direction))

    def _cells(self, fact: Fact) -> None:
        hour = max(0, int(fact.at // 3600))
        at = tallies.stretch(fact.at) >> self.scale.time_power
        keys = [(ALL_ROLES, at), (fact.role, at), (fact.role, WHOLE)]
        cells = [self.tallies[(*key, fact.standing)] for key in keys]
        for cell in (*cells, self.rollups[hour, fact.role, fact.standing]):
            for place, value in enumerate((1, *fact.ms)):
                cell[place] += value
        if not fact.is_ranked or fact.score is None or self.scale.origin is None or self.scale.unit is None:
            return
        self.scores |= {fact.score} & {self.scale.origin}
        level = str(tallies.level_of(fact.score, self.scale.origin, self.scale.unit))
        self.columns["trial", fact.number >> self.scale.trial_power][level] += 1
        self.columns["time", at][level] += 1


def check_sums(campaign: Campaign) -> Iterator[Violation]:
    """Yield what the kept sums differ in, one line for each table."""
    scale = TallyScale.objects.filter(campaign=campaign).first()
    recount = Recount(campaign, scale or TallyScale(campaign=campaign))
    for batch in facts_of(campaign):
        recount.add(batch)
    origin = None if scale is None else scale.origin
    if scale is not None and origin is not None:
        told = origin in recount.scores and scale.unit == tallies.unit_of(origin)
        if not told:
            yield Violation(campaign.slug, "sums", f"levels of score begin at {origin}, which no trial has")
    yield from _rollups(campaign, recount)
    for name, kept, counted in _tables(campaign, recount):
        if different := _difference(kept, counted):
            yield Violation(campaign.slug, "sums", f"{name}: {different}")


def _rollups(campaign: Campaign, recount: Recount) -> Iterator[Violation]:
    names = ("hour", "role", "label", "trials", "queue_seconds", "run_seconds", "eval_seconds", "log_seconds")
    kept = {row[:3]: row[3:] for row in Rollup.objects.filter(campaign=campaign).values_list(*names)}
    counted = {key: tuple(cell) for key, cell in recount.rollups.items()}
    trials = ({key: row[0] for key, row in kept.items()}, {key: row[0] for key, row in counted.items()})
    if different := _difference(*trials):
        yield Violation(campaign.slug, "rollups", different)
        return
    for key, row in kept.items():
        found, expected = row[1:], [value / 1000 for value in counted[key][1:]]
        apart = SECONDS_APART + row[0] * 6e-4
        if any(abs(one - other) > apart for one, other in zip(found, expected, strict=True)):
            yield Violation(campaign.slug, "rollups", f"seconds of {key}: {found}, expected {expected}")
            return


def _tables(campaign: Campaign, recount: Recount) -> Iterator[tuple[str, Mapping[Any, Any], Mapping[Any, Any]]]:
    """Name, what is kept, what was counted."""

    def kept(model: Any, keys: int, *names: str) -> dict[Any, Any]:
        rows: Iterable[tuple[Any, ...]] = model.objects.filter(campaign=campaign).values_list(*names)
        return {row[:keys]: row[keys:] for row in rows}

    yield (
        "tallies", kept(Tally, 3, "role", "bin", "label", "trials", *MS),
        {key: tuple(cell) for key, cell in recount.tallies.items()},
    )  # fmt: skip
    yield (
        "score columns", kept(ScoreColumn, 2, "axis", "bin", "counts"),
        {key: (dict(counts),) for key, counts in recount.columns.items()},
    )  # fmt: skip
    yield "reasons", kept(ReasonTally, 2, "label", "failure", "trials", "newest"), recount.reasons
    yield "parents", kept(ParentTally, 2, "role", "parent_role", "trials", "keeps"), recount.parents
    yield (
        "sizes of misses", kept(MissTally, 2, "label", "level", "trials"),
        {key: (count,) for key, count in recount.levels.items()},
    )  # fmt: skip
    yield "misses", {"all": Miss.objects.filter(campaign=campaign).count()}, {"all": recount.misses}
    yield (
        "fronts", kept(FrontPoint, 2, "axis", "number", "x", "score"),
        {(axis, one.number): (one.x, one.score) for axis, points in recount.fronts.items() for one in points},
    )  # fmt: skip


def _difference(kept: Mapping[Any, Any], counted: Mapping[Any, Any]) -> str:
    """The first cells that differ, in words; empty where none does."""
    differing = [key for key in {**kept, **counted} if kept.get(key) != counted.get(key)]
    if not differing:
        return ""
    shown = "; ".join(f"{key} is {kept.get(key)}, counted {counted.get(key)}" for key in differing[:2])
    return f"{len(differing)} cells differ: {shown}"
