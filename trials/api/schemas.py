"""What the interface answers with: plain values. Times are ISO 8601 in UTC, durations seconds, sizes bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Field, Schema

from trials.vocab import Label

LARGEST = 2**63 - 1


class Window(Schema):
    """How much of a list."""

    limit: int = Field(100, ge=1, le=1000, description="rows at most")


class CampaignsWanted(Window):
    """A page of campaigns."""

    before: int | None = Field(None, ge=0, le=LARGEST, description="`next` of the page before")


class TrialsWanted(Window):
    """A page of trials."""

    after: int = Field(-1, ge=-1, le=2**31 - 1, description="`next` of the page before; higher numbers follow")
    role: str = ""
    label: Label | None = Field(None, description="what counts now: a provisional trial that was kept is a keep")


class EventsWanted(Window):
    """A stretch of the ledger."""

    since: int = Field(0, ge=0, le=LARGEST, description="`next` of the answer before, or `seq` of the campaign")


class Me(Schema):
    """Whose token it is."""

    user: str
    token: str
    scopes: list[str]
    expires_at: datetime | None
    may_launch: bool


class CampaignOut(Schema):
    """A campaign: its settings, and its counters as they are now."""

    slug: str
    name: str
    environment: str
    profile: str
    roster: str
    proposer: str
    lineage: str
    keep_rule: str
    enforcement: str
    direction: str = Field(description="lower or higher: which scores are better")
    score_name: str
    score_source: str = Field(description="evaluator, or log where scores are a script's own word")
    minimum_level: str
    seed: int
    state: str
    state_reason: str
    created_at: datetime
    created_by: str | None
    finished_at: datetime | None
    max_trials: int
    weight: int = Field(description="what its use of evaluators counts for beside that of other campaigns")
    trials: int = Field(description="finished trials that count; the start and faults of the site do not")
    keeps: int
    start_score: float | None
    best_score: float | None
    best_trial: int | None
    improvement: float | None = Field(description="relative change of best against start")
    noise_sd: float | None
    seq: int = Field(description="number of the newest event: `since` of the next request for events")
    page: str


class CampaignPage(Schema):
    """Campaigns, newest first. ``next``: the ``before`` of the following page, null at the end."""

    items: list[CampaignOut]
    next: int | None


class TrialRow(Schema):
    """One line of the trial table."""

    number: int
    role: str
    state: str
    label: str
    reason: str
    score: float | None
    delta_vs_best: float | None
    delta_vs_parent: float | None
    artifact_bytes: int | None
    hypothesis: str
    parent: int | None
    isolation_level: str
    submitted_at: datetime
    finished_at: datetime | None
    queue_seconds: float | None
    run_seconds: float | None
    eval_seconds: float | None
    log_seconds: float | None


class TrialPage(Schema):
    """Trials by number. ``next``: the ``after`` of the following page, null at the end."""

    items: list[TrialRow]
    next: int | None


class MeasurementOut(Schema):
    """What an evaluator saw. ``record``: the whole measurement, whose canonical form has ``sha256``."""

    purpose: str
    split: str
    seed: int
    status: str
    score: float | None
    worker: str
    created_at: datetime
    sha256: str
    record: dict[str, Any]


class TrialOut(TrialRow):
    """One trial with all that was proposed and measured; ``diff`` is against the parent, cut where it is long."""

    depth: int
    expected_delta: float | None
    proposal: dict[str, Any]
    surface: list[str]
    seed: int
    source_sha256: str | None
    numbers: dict[str, Any]
    excerpt: str
    diff: str
    diff_cut: bool
    measurements: list[MeasurementOut]
    page: str


class EventOut(Schema):
    """A line of the ledger. ``trial``: the row that it concerns, as it is now."""

    seq: int
    at: datetime
    kind: str
    actor: str
    payload: dict[str, Any]
    sha256: str
    previous_sha256: str
    trial: TrialRow | None


class EventPage(Schema):
    """Events after ``since``, oldest first. ``next``: the ``since`` of the next request; ``more``: ask at once."""

    items: list[EventOut]
    next: int
    more: bool


class StepOut(Schema):
    """An improvement of the best score; hours since launch."""

    number: int
    score: float
    role: str
    hours: float


class LabelOut(Schema):
    """Finished trials with a label; ``share`` leaves the start out of the whole."""

    label: str
    trials: int
    share: float


class RoleOut(Schema):
    """One role's outcomes."""

    role: str
    trials: int
    keeps: int
    keep_rate: float | None
    labels: dict[str, int]
    machine_seconds: float


class HourOut(Schema):
    """Finished trials in [hour, hour + width) since launch, and the sums of their seconds."""

    hour: float
    width: float
    trials: int
    seconds: dict[str, float]


class Problem(Schema):
    """Why there is no answer: what, where, what was expected."""

    detail: str
