"""The numbers behind pages, charts and the report: plain values from rollups, frontier steps and bounded queries.

Nothing here costs more when a campaign has more trials: rollups grow with hours, frontier steps with improvements, and
single trials are read as a sample of fixed size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import F, Window
from django.db.models.functions import Left, RowNumber

from trials.formatting import waiting
from trials.models import Campaign, Evaluation, FrontierStep, Rollup, Trial
from trials.vocab import UNCOUNTED_LABELS, EvaluationState, Label, Purpose

MAX_POINTS = 1500
NEWEST_POINTS = 300
MAX_STEPS = 1000
MAX_BINS = 168
HOVER_POINTS = 600
HOVER_LENGTH = 96
SPARK_STEPS = 48
SECONDS = ("queue", "run", "eval", "log")


@dataclass(frozen=True)
class LabelCount:
    """``share`` is the fraction of the campaign's finished trials but the baseline, in [0, 1]."""

    label: str
    trials: int
    share: float


@dataclass(frozen=True)
class RoleProfile:
    """One role's finished trials. ``trials`` leaves out infrastructure failures, ``labels`` holds all."""

    role: str
    trials: int
    keeps: int
    labels: Mapping[str, int]
    machine_seconds: float

    @property
    def keep_rate(self) -> float | None:
        return self.keeps / self.trials if self.trials else None


@dataclass(frozen=True)
class Step:
    """One improvement of the best score; ``hours`` since launch."""

    number: int
    score: float
    role: str
    hours: float


@dataclass(frozen=True)
class Bin:
    """Finished trials in [hour, hour + width) since launch, and the sums of their seconds by phase."""

    hour: int
    width: int
    trials: int
    seconds: Mapping[str, float] = field(default_factory=dict)

    def mean_seconds(self, phase: str) -> float:
        return self.seconds.get(phase, 0.0) / self.trials if self.trials else 0.0


@dataclass(frozen=True)
class Point:
    """One trial with a score. ``hypothesis`` is cut; empty when there are too many points to carry text."""

    number: int
    score: float
    label: str
    role: str
    hypothesis: str = ""


@dataclass(frozen=True)
class Points:
    """Trials with a score: all of them (``stride`` 1), or every ``stride``-th and the newest ones."""

    rows: Sequence[Point]
    stride: int


def labels(campaign: Campaign) -> list[LabelCount]:
    """Finished trials but the baseline by label, most frequent first; labels that never came up are left out."""
    counts = {row["label"]: row["trials"] for row in Rollup.objects.counts(campaign.pk, "label")}
    counts.pop(Label.BASELINE, None)
    total = sum(counts.values())
    order = sorted(counts, key=lambda label: (-counts[label], label))
    return [LabelCount(label, counts[label], counts[label] / total) for label in order]


def roles(campaign: Campaign) -> list[RoleProfile]:
    """One profile per role of the roster, in its order, then roles outside of it; the baseline belongs to nobody."""
    cells: dict[str, dict[str, dict[str, Any]]] = {str(role["name"]): {} for role in campaign.roles}
    for row in Rollup.objects.counts(campaign.pk, "role", "label"):
        if row["label"] != Label.BASELINE:
            cells.setdefault(row["role"], {})[row["label"]] = row
    return [_profile(role, rows) for role, rows in cells.items()]


def _profile(role: str, rows: Mapping[str, Mapping[str, Any]]) -> RoleProfile:
    counts = {label: int(row["trials"]) for label, row in rows.items()}
    return RoleProfile(
        role=role,
        trials=sum(count for label, count in counts.items() if label not in UNCOUNTED_LABELS),
        keeps=counts.get(Label.KEEP, 0),
        labels=counts,
        machine_seconds=sum(float(row["run_seconds"] + row["eval_seconds"]) for row in rows.values()),
    )


def frontier(campaign: Campaign) -> list[Step]:
    """Improvements of the best score in recorded order (the newest MAX_STEPS), the baseline first while it fits."""
    steps = FrontierStep.objects.filter(campaign=campaign).order_by("-id").values_list(
        "number", "score", "trial__role", "at"
    )[:MAX_STEPS]  # fmt: skip
    return [Step(number, score, role, _hours(campaign, at)) for number, score, role, at in reversed(steps)]


def _hours(campaign: Campaign, at: datetime) -> float:
    return (at - campaign.created_at).total_seconds() / 3600


def throughput(campaign: Campaign) -> list[Bin]:
    """Finished trials per hour since launch, empty hours included; neighbours are merged beyond MAX_BINS."""
    rows = Rollup.objects.counts(campaign.pk, "hour")
    if not rows:
        return []
    width = -(-(rows[-1]["hour"] + 1) // MAX_BINS)
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["hour"] // width, []).append(row)
    return [_bin(index * width, width, found.get(index, [])) for index in range(rows[-1]["hour"] // width + 1)]


def _bin(hour: int, width: int, rows: Iterable[Mapping[str, Any]]) -> Bin:
    kept = list(rows)
    sums = {phase: float(sum(row[f"{phase}_seconds"] for row in kept)) for phase in SECONDS}
    return Bin(hour, width, sum(row["trials"] for row in kept), sums)


def points(campaign: Campaign) -> Points:
    """Scored trials for a scatter plot: at most MAX_POINTS numbers are looked up, whatever the campaign's length."""
    count = campaign.last_number + 1
    stride = 1 if count <= MAX_POINTS else -(-count // (MAX_POINTS - NEWEST_POINTS))
    rows = Trial.objects.of(campaign.pk).filter(score__isnull=False)
    if stride > 1:
        newest = range(max(0, count - NEWEST_POINTS), count)
        rows = rows.filter(number__in=sorted({*range(0, count, stride), *newest}))
    names = ("number", "score", "standing", "role")
    if min(count, MAX_POINTS) <= HOVER_POINTS:
        found = rows.order_by("number").values_list(*names, Left("hypothesis", HOVER_LENGTH))
    else:
        found = rows.order_by("number").values_list(*names)
    return Points([Point(*row) for row in found], stride)


def sparks(campaigns: Sequence[Campaign]) -> dict[int, list[Step]]:
    """The newest SPARK_STEPS improvements of each campaign, by primary key: one query for a whole page of campaigns."""
    rank = Window(RowNumber(), partition_by=F("campaign_id"), order_by=F("id").desc())
    rows = (
        FrontierStep.objects.filter(campaign__in=campaigns)
        .annotate(rank=rank)
        .filter(rank__lte=SPARK_STEPS)
        .order_by("campaign_id", "id")
        .values_list("campaign_id", "number", "score", "at")
    )
    found: dict[int, list[Step]] = {campaign.pk: [] for campaign in campaigns}
    launched = {campaign.pk: campaign for campaign in campaigns}
    for pk, number, score, at in rows:
        found[pk].append(Step(number, score, "", _hours(launched[pk], at)))
    return found


def phases(campaign: Campaign, numbers: Sequence[int]) -> dict[int, tuple[str, float | None]]:
    """Phase and progress of trials that are being measured now, by number; of queued ones, why they wait if known."""
    rows = Evaluation.objects.in_flight().filter(campaign=campaign, purpose=Purpose.TRIAL, trial__number__in=numbers)
    found: dict[int, tuple[str, float | None]] = {}
    for number, state, phase, progress, fault in rows.values_list(
        "trial__number", "state", "phase", "progress", "fault"
    ):
        if state == EvaluationState.RUNNING:
            found[number] = (phase, progress)
        elif fault:
            found[number] = (waiting(fault), None)
    return found
