"""The numbers behind pages, charts and the report: plain values from rollups, frontier steps and bounded queries.

Nothing here costs more when a campaign has more trials: sums stand in bounded tables (trials.tally_models), of frontier
steps the newest are read, of single trials a sample of fixed size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from trials import statements
from trials.formatting import waiting
from trials.models import Campaign, Evaluation, FrontierStep
from trials.tallies import ALL_ROLES, STRETCH_SECONDS, WHOLE
from trials.tally_models import Tally, TallyScale
from trials.vocab import UNCOUNTED_LABELS, EvaluationState, Label, Purpose

MAX_POINTS = 500
NEWEST_POINTS = 100
NEIGHBOURS = 4
"""Trials of a sample stand so many together: one look at the index finds them all."""
MAX_STEPS = 1000
NEWEST_STEPS, OLDER_STEPS = 40, 60
HOVER_POINTS = 400
HOVER_LENGTH = 96
SPARK_STEPS = 48
SECONDS = ("queue", "run", "eval", "log")
NOTHING = (0, 0, 0, 0, 0)
# Prepared: a list of a thousand numbers is a value, not a text to read.
_POINTS = """
SELECT number, score, standing, role, left(hypothesis, %s) FROM trials_trial
 WHERE campaign_id = %s AND number = ANY(%s) AND score IS NOT NULL ORDER BY number
"""
_STEPS = """
SELECT step.number, step.score, trial.role, step.at FROM trials_frontierstep AS step
  JOIN trials_trial AS trial ON trial.id = step.trial_id
 WHERE step.campaign_id = %s ORDER BY step.id DESC LIMIT %s
"""
# The steps of one search are few however long it is: a best score is beaten ever more seldom. The index alone says
# which there are.
_OUTLINE = """
WITH every AS (
    SELECT array_agg(id ORDER BY id) AS ids, count(*)::int AS many FROM trials_frontierstep
     WHERE campaign_id = %(campaign)s
), wanted AS (
    SELECT ids, generate_series(1, many - %(newest)s, 1 + greatest(0, many - %(newest)s - 1) / %(older)s) AS place
      FROM every
    UNION ALL SELECT ids, generate_series(greatest(1, many - %(newest)s + 1), many) FROM every
)
SELECT step.number, step.score,
       CASE WHEN step.id > (SELECT coalesce(ids[many - %(newest)s], 0) FROM every)
            THEN (SELECT role FROM trials_trial WHERE id = step.trial_id) ELSE '' END,
       extract(epoch FROM step.at - %(launched)s)::float8 / 3600
  FROM trials_frontierstep AS step WHERE step.id = ANY(ARRAY(SELECT ids[place] FROM wanted)) ORDER BY step.id
"""
_THROUGHPUT = """
SELECT bin, sum(trials)::bigint, sum(queue_ms)::bigint, sum(run_ms)::bigint, sum(eval_ms)::bigint, sum(log_ms)::bigint
  FROM trials_tally WHERE campaign_id = %s AND role = %s AND bin >= 0 GROUP BY bin
"""


@dataclass(frozen=True)
class LabelCount:
    """``share`` is the fraction of the campaign's finished trials but the baseline, in [0, 1]."""

    label: str
    trials: int
    share: float


@dataclass(frozen=True)
class RoleProfile:
    """One role's finished trials. ``trials`` leaves out infrastructure failures, ``labels`` and ``seconds`` (of run and
    eval) hold all, by label."""

    role: str
    trials: int
    keeps: int
    labels: Mapping[str, int]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def machine_seconds(self) -> float:
        """Seconds of run and eval."""
        return sum(self.seconds.values())

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

    hour: float
    width: float
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
    """Trials with a score: all of them, or a sample of one in ``every`` and the newest ones."""

    rows: Sequence[Point]
    every: int


def labels(campaign: Campaign) -> list[LabelCount]:
    """Finished trials but the baseline by label, most frequent first; labels that never came up are left out."""
    counts = Counter[str]()
    for cell in whole_cells(campaign):
        counts[cell.label] += cell.trials
    counts.pop(Label.BASELINE, None)
    total = counts.total()
    order = sorted(counts, key=lambda label: (-counts[label], label))
    return [LabelCount(label, counts[label], counts[label] / total) for label in order]


def whole_cells(campaign: Campaign) -> list[Tally]:
    """Sums over the whole search by role and label: as many rows as there are such pairs."""
    return list(Tally.objects.filter(campaign=campaign, bin=WHOLE).order_by("role", "label"))


def roles(campaign: Campaign) -> list[RoleProfile]:
    """One profile per role of the roster, in its order, then roles outside of it; the baseline belongs to nobody."""
    cells: dict[str, dict[str, Tally]] = {str(role["name"]): {} for role in campaign.roles}
    for cell in whole_cells(campaign):
        if cell.label != Label.BASELINE:
            cells.setdefault(cell.role, {})[cell.label] = cell
    return [_profile(role, rows) for role, rows in cells.items()]


def _profile(role: str, rows: Mapping[str, Tally]) -> RoleProfile:
    counts = {label: row.trials for label, row in rows.items()}
    return RoleProfile(
        role=role,
        trials=sum(count for label, count in counts.items() if label not in UNCOUNTED_LABELS),
        keeps=counts.get(Label.KEEP, 0),
        labels=counts,
        seconds={label: (row.run_ms + row.eval_ms) / 1000.0 for label, row in rows.items()},
    )


def frontier(campaign: Campaign) -> list[Step]:
    """Improvements of the best score in recorded order (the newest MAX_STEPS), the baseline first while it fits."""
    steps = statements.rows(_STEPS, [campaign.pk, MAX_STEPS])
    return [Step(number, score, role, _hours(campaign, at)) for number, score, role, at in reversed(steps)]


def outline(campaign: Campaign) -> list[Step]:
    """``frontier`` for drawing: the newest NEWEST_STEPS, of the others at most OLDER_STEPS evenly, and the first.

    Only the newest have a role.
    """
    wanted = {"newest": NEWEST_STEPS, "older": OLDER_STEPS, "launched": campaign.created_at}
    return [Step(*row) for row in statements.rows(_OUTLINE, wanted | {"campaign": campaign.pk})]


def _hours(campaign: Campaign, at: datetime) -> float:
    return (at - campaign.created_at).total_seconds() / 3600


def stretch_hours(campaign: Campaign) -> float:
    """How many hours a stretch of time has."""
    scale = TallyScale.objects.filter(campaign=campaign).first()
    return STRETCH_SECONDS * 2.0 ** (scale.time_power if scale else 0) / 3600


def throughput(campaign: Campaign, role: str = ALL_ROLES) -> list[Bin]:
    """Finished trials by stretch of time since launch, quiet ones included; of one role, or of all."""
    found = {at: sums for at, *sums in statements.rows(_THROUGHPUT, [campaign.pk, role])}
    width = stretch_hours(campaign) if found else 0.0
    return [_bin(at * width, width, found.get(at, NOTHING)) for at in range(max(found, default=-1) + 1)]


def _bin(hour: float, width: float, sums: Sequence[int]) -> Bin:
    """sums: trials, and milliseconds of each of SECONDS."""
    trials, *spent = sums
    return Bin(hour, width, trials, {phase: ms / 1000.0 for phase, ms in zip(SECONDS, spent, strict=True)})


def points(campaign: Campaign) -> Points:
    """Scored trials for a scatter plot: at most MAX_POINTS numbers are looked up, whatever the campaign's length."""
    count = campaign.last_number + 1
    every = _every(count)
    groups = range(0, max(count, MAX_POINTS), NEIGHBOURS * every)
    wanted = {*chain.from_iterable(range(first, first + NEIGHBOURS) for first in groups)}
    wanted |= {*range(max(0, count - NEWEST_POINTS), count)}
    told = HOVER_LENGTH if min(count, MAX_POINTS) <= HOVER_POINTS else 0
    found = statements.rows(_POINTS, [told, campaign.pk, sorted(wanted)])
    return Points([Point(*row) for row in found], every)


def _every(count: int) -> int:
    """One of how many trials is drawn: a power of two, so that a live plot keeps its points until they are too many."""
    if count <= MAX_POINTS:
        return 1
    return 1 << (-(-count // (MAX_POINTS - NEWEST_POINTS)) - 1).bit_length()


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
