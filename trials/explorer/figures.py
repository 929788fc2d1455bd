"""Numbers of the explorer's pages: plain values from bounded tables and indexed reads of a fixed size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from django.db.models import Q
from django.db.models.functions import Left
from numpy.typing import NDArray

from trials import analytics, statements
from trials.models import Campaign, Trial
from trials.statements import SCORED
from trials.tallies import ALL_ROLES, STRETCH_SECONDS
from trials.tally_models import FrontPoint, Miss, MissTally, ParentTally, ReasonTally, Tally, TallyScale
from trials.vocab import FAILED_LABELS, Direction, Label

Numbers = NDArray[np.int64]
ALL_POINTS = 600
"""A search of at most so many trials shows every one of them."""
STEPS, NEWEST, PROVISIONAL = 40, 30, 30
ROWS = 40
"""Rows of a density, at most."""
QUANTILE = 0.9
HYPOTHESIS = 80
REASONS, NEAREST = 40, 12
FRONT = 400
HIGHEST = 2**31 - 1
REMEMBERED = 1024
"""Stretches whose cells a process remembers: those of both axes in four long searches."""
# Prepared: what every plot of the frontier asks.
_RANKED = f"""
SELECT number, score, standing, role, left(hypothesis, %s), extract(epoch FROM finished_at - %s)::float8 / 3600
  FROM trials_trial WHERE campaign_id = %s AND number = ANY(%s) AND score IS NOT NULL AND {SCORED} ORDER BY number
"""  # noqa: S608 - words of this program
_COLUMNS = "SELECT bin, counts FROM trials_scorecolumn WHERE campaign_id = %s AND axis = %s"
_NUMBERS_ALONE = str.maketrans(dict.fromkeys('{}":,', " "))


@dataclass(frozen=True)
class Point:
    """One scored trial; ``hours`` since launch."""

    number: int
    score: float
    standing: str
    role: str
    hypothesis: str
    hours: float


@dataclass(frozen=True)
class Density:
    """Scores of all ranked trials counted in cells. counts[row][column]; ``outside`` are worse than the lowest row.

    x0, y0: middle of the first cell; dx, dy: size of a cell, x in trials or hours.
    """

    x0: float
    dx: float
    y0: float
    dy: float
    counts: Sequence[Sequence[int]]
    outside: int
    trials: int


@dataclass(frozen=True)
class Plane:
    """What the frontier is drawn from. shown: whether ``points`` are all trials with a score."""

    points: Sequence[Point]
    steps: Sequence[analytics.Step]
    density: Density | None
    shown: bool


def plane(campaign: Campaign, axis: str) -> Plane:
    """Score over ``trial`` or ``time``: of a short search every trial, else the density and the telling ones."""
    steps = analytics.outline(campaign)
    every = campaign.last_number < ALL_POINTS
    wanted = range(ALL_POINTS + 1) if every else sorted(_telling(campaign, steps))
    points = [
        Point(*row) for row in statements.rows(_RANKED, [HYPOTHESIS, campaign.created_at, campaign.pk, [*wanted]])
    ]
    return Plane(points, steps, None if every else density(campaign, axis), every)


def _telling(campaign: Campaign, steps: Sequence[analytics.Step]) -> set[int]:
    """Numbers of the newest improvements, of what waits for its confirmation, and of the newest trials."""
    waiting = Trial.objects.of(campaign.pk).filter(standing=Label.PROVISIONAL).newest(PROVISIONAL)
    newest = range(max(0, campaign.last_number + 1 - NEWEST), campaign.last_number + 1)
    return {*(step.number for step in steps[-STEPS:]), *waiting.values_list("number", flat=True), *newest}


def density(campaign: Campaign, axis: str) -> Density | None:
    """Counts of all ranked trials; None before there is a score."""
    scale = TallyScale.objects.filter(campaign=campaign).first()
    if scale is None or scale.origin is None or scale.unit is None:
        return None
    at, level, count = _cells(statements.rows(_COLUMNS, [campaign.pk, axis]))
    low, high = _levels(level, count, Direction(campaign.direction))
    each = -(-(high - low + 1) // ROWS)
    inside = (low <= level) & (level <= high)
    height, wide = -(-(high - low + 1) // each), int(at.max()) + 1
    where = (level[inside] - low) // each * wide + at[inside]
    grid = np.bincount(where, weights=count[inside], minlength=height * wide).astype(np.int64).reshape(height, wide)
    width = 2.0**scale.trial_power if axis == "trial" else STRETCH_SECONDS * 2**scale.time_power / 3600
    tall = each * scale.unit
    begins = -0.5 if axis == "trial" else 0.0  # the middle of the first trial's cell is its number
    return Density(
        x0=begins + width / 2, dx=width, y0=scale.origin + low * scale.unit + tall / 2, dy=tall,
        counts=grid.tolist(), outside=int(count[~inside].sum()), trials=int(count.sum()),
    )  # fmt: skip


def _cells(columns: Sequence[tuple[int, str]]) -> tuple[Numbers, Numbers, Numbers]:
    """Stretch, level and count of each cell, from stretches and their counts as the database writes them."""
    pairs = [_pairs(counts) for _, counts in columns]
    at = np.repeat([at for at, _ in columns], [len(found) for found in pairs])
    every = np.concatenate(pairs)
    return at, every[:, 0], every[:, 1]


@lru_cache(maxsize=REMEMBERED)
def _pairs(counts: str) -> Numbers:
    """(cells, 2): level and count. Read as mere numbers, which is far cheaper than as JSON, and remembered: of a live
    search only the newest stretch changes."""
    return np.fromstring(counts.translate(_NUMBERS_ALONE), np.int64, sep=" ").reshape(-1, 2)


def _levels(level: Numbers, count: Numbers, direction: Direction) -> tuple[int, int]:
    """From the best level to that within which QUANTILE of the scores lie, the first score's (0) among them."""
    sign = 1 if direction is Direction.LOWER else -1
    worse = sign * level
    best = int(worse.min())
    seen = np.cumsum(np.bincount(worse - best, weights=count))
    last = best + int(np.searchsorted(seen, QUANTILE * seen[-1]))
    ends = (sign * best, sign * last, 0)
    return min(ends), max(ends)


@dataclass(frozen=True)
class FrontRow:
    number: int
    x: float
    score: float
    role: str
    hypothesis: str
    standing: str


def front(campaign: Campaign, axis: str) -> list[FrontRow]:
    """Trials that no other beats in score and in ``axis``, by rising x; of a very long front the best scores.

    Seconds are those of all devices that a trial uses together.
    """
    best_last = "score" if campaign.direction == Direction.LOWER else "-score"
    rows = FrontPoint.objects.filter(campaign=campaign, axis=axis).order_by(best_last, "x")[:FRONT]
    told = rows.values_list(
        "number", "x", "score", "trial__role", Left("trial__hypothesis", HYPOTHESIS), "trial__standing"
    )
    times = devices_of(campaign) if axis == "seconds" else 1
    return sorted((FrontRow(number, x * times, *rest) for number, x, *rest in told), key=lambda row: row.x)


def devices_of(campaign: Campaign) -> int:
    """How many devices one trial uses at a time."""
    return int(campaign.spec.get("profile", {}).get("devices", 1))


@dataclass(frozen=True)
class Stretch:
    """Finished trials of [hour, hour + width) by label."""

    hour: float
    width: float
    labels: Mapping[str, int]


def outcomes(campaign: Campaign, role: str = ALL_ROLES) -> list[Stretch]:
    """What became of the trials over time, of one role or of all; quiet stretches included."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for at, label, trials in Tally.objects.filter(campaign=campaign, role=role, bin__gte=0).values_list(
        "bin", "label", "trials"
    ):
        found[at][label] = trials
    width = analytics.stretch_hours(campaign) if found else 0.0
    return [Stretch(at * width, width, found.get(at, {})) for at in range(max(found, default=-1) + 1)]


@dataclass(frozen=True)
class Reason:
    """Failures with the same words: how many, and the newest."""

    label: str
    failure: str
    trials: int
    newest: int

    @property
    def words(self) -> str:
        """Without the label, which stands beside it."""
        return self.failure.partition(": ")[2]


def reasons(campaign: Campaign) -> list[Reason]:
    """The most frequent ones."""
    rows = ReasonTally.objects.filter(campaign=campaign).order_by("-trials", "failure")
    return [Reason(*row) for row in rows.values_list("label", "failure", "trials", "newest")[:REASONS]]


@dataclass(frozen=True)
class NearMiss:
    """A trial that missed a boundary by ``over`` of ``unit``; share of the limit."""

    number: int
    label: str
    unit: str
    over: float
    share: float
    role: str
    hypothesis: str


def nearest(campaign: Campaign, label: str = "", role: str = "") -> list[NearMiss]:
    """Misses by how near they came, nearest first; of one label or of all."""
    rows = Miss.objects.filter(campaign=campaign, share__gt=0)
    if label:
        rows = rows.filter(label=label)
    if role:
        rows = rows.filter(trial__role=role)
    told = rows.order_by("share", "number").values_list(
        "number", "label", "unit", "over", "share", "trial__role", Left("trial__hypothesis", 2 * HYPOTHESIS)
    )
    return [NearMiss(*row) for row in told[:NEAREST]]


def nearest_scores(campaign: Campaign, role: str = "") -> list[Trial]:
    """Discarded trials with the best scores: valid, and not better."""
    rows = Trial.objects.of(campaign.pk).filter(standing=Label.DISCARD)
    if role:
        rows = rows.filter(role=role)
    return list(
        rows.leading(campaign.direction, NEAREST).only("number", "score", "role", "hypothesis", "delta_vs_best")
    )


def miss_levels(campaign: Campaign) -> dict[str, dict[int, int]]:
    """Misses by label and half power of ten of their share."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for label, level, trials in MissTally.objects.filter(campaign=campaign).values_list("label", "level", "trials"):
        found[label][level] = trials
    return dict(found)


@dataclass(frozen=True)
class Role:
    """One role's page row. surface: its files. parents: trials and keeps by the role that they were built on."""

    profile: analytics.RoleProfile
    surface: Sequence[str]
    parents: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def failed(self) -> dict[str, float]:
        """Machine time of trials that gave no valid score, by label; infrastructure failures are nobody's."""
        return {label: spent for label, spent in self.profile.seconds.items() if label in FAILED_LABELS}

    @property
    def failed_seconds(self) -> float:
        return sum(self.failed.values())

    @property
    def failed_share(self) -> float | None:
        return self.failed_seconds / self.profile.machine_seconds if self.profile.machine_seconds else None

    @property
    def costliest(self) -> str:
        """The failure that took most of that time; empty for none."""
        return max(self.failed, key=lambda label: self.failed[label], default="")

    @property
    def per_keep(self) -> float | None:
        return self.profile.machine_seconds / self.profile.keeps if self.profile.keeps else None

    @property
    def crossed(self) -> tuple[int, int]:
        """Keeps that were built on another role's trial, of all keeps."""
        keeps = sum(keeps for _, keeps in self.parents.values())
        return keeps - self.parents.get(self.profile.role, (0, 0))[1], keeps


def roles(campaign: Campaign) -> list[Role]:
    """Every role in the order of the roster."""
    surfaces = {str(role["name"]): list(role.get("surface", [])) for role in campaign.roles}
    parents: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    rows = ParentTally.objects.filter(campaign=campaign).values_list("role", "parent_role", "trials", "keeps")
    for role, parent, trials, keeps in rows:
        parents[role][parent] = (trials, keeps)
    return [
        Role(profile, surfaces.get(profile.role, []), parents.get(profile.role, {}))
        for profile in analytics.roles(campaign)
    ]


def efficiency(bins: Sequence[analytics.Bin], slots: int) -> list[float | None]:
    """Share of the slots' time that was spent in run, eval and log, by stretch; docs/report.md has the definition."""
    return [
        sum(row.seconds[phase] for phase in ("run", "eval", "log")) / (3600 * row.width * slots) if row.width else None
        for row in bins
    ]


def find(campaign: Campaign, numbers: Sequence[int]) -> list[Any]:
    """These trials in this order, with their parents; numbers that are not there are left out."""
    rows = Trial.objects.of(campaign.pk).filter(Q(number__in=[number for number in numbers if number <= HIGHEST]))
    found = {trial.number: trial for trial in rows.select_related("parent")}
    return [found[number] for number in numbers if number in found]
