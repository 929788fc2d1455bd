"""Figures for those who run the site, in a fixed number of queries at any size.

Open work orders and sessions are found by partial indexes that hold nothing else; trials are counted from the sums that
are kept where a trial is recorded. No table that grows with a search is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, Q, Sum
from django.utils import timezone

from specialists.models import Account, Session
from specialists.vocab import SessionState
from trials.models import Campaign, Evaluation
from trials.site_models import SiteEvent
from trials.tallies import ALL_ROLES, STRETCH_SECONDS, WHOLE
from trials.tally_models import Tally
from trials.vocab import LIVE_CAMPAIGN_STATES
from trials.worker_models import Worker

MOST_CAMPAIGNS = 200
SHOWN_FOR = timedelta(days=1)
"""Campaigns that ended longer ago are in the sums of the site only: a name in a metric is kept for ever."""
RATE_OVER = timedelta(hours=1)


@dataclass(frozen=True)
class Orders:
    """Work orders of one device kind in one state. Ages in seconds, of the oldest; 0 where there is none.

    overdue: for how long the lease that ran out first is not renewed; workers: how many hold one.
    """

    device: str
    state: str
    count: int
    age: float
    overdue: float
    workers: int


@dataclass(frozen=True)
class Devices:
    """Live evaluator processes of one device kind and isolation level, and the devices that they may use."""

    device: str
    level: str
    workers: int
    devices: int


@dataclass(frozen=True)
class Sessions:
    """Open agent sessions of one proposer: at work under a lease, or waiting for a worker. age: of the oldest."""

    proposer: str
    working: int
    waiting: int
    age: float


@dataclass(frozen=True)
class CampaignFigures:
    """One campaign. trials: as its pages count them; per_hour: outcomes of all kinds over the last hour at least;
    device_seconds: wall clock of measurements times the devices that each of them holds; usd: of language models."""

    slug: str
    state: str
    trials: int
    keeps: int
    events: int
    aborts_in_a_row: int
    per_hour: float
    device: str
    device_seconds: float
    best_score: float | None
    labels: dict[str, int] = field(default_factory=dict)
    usd: float = 0.0
    tokens: int = 0
    requests: int = 0
    failures: int = 0


@dataclass(frozen=True)
class SiteFigures:
    """At one moment. states: campaigns by state; trials, events: over all campaigns."""

    at: datetime
    orders: list[Orders]
    devices: list[Devices]
    sessions: list[Sessions]
    campaigns: list[CampaignFigures]
    states: dict[str, int]
    trials: int
    events: int
    site_events: int


def read() -> SiteFigures:
    """The figures of now: nine queries."""
    now = timezone.now()
    campaigns = _campaigns(now)
    by_state = list(
        Campaign.objects.order_by().values("state").annotate(n=Count("pk"), done=Sum("trial_count"), at=Sum("last_seq"))
    )
    return SiteFigures(
        at=now,
        orders=_orders(now),
        devices=_devices(now),
        sessions=_sessions(now),
        campaigns=campaigns,
        states={row["state"]: row["n"] for row in by_state},
        trials=sum(row["done"] for row in by_state),
        events=sum(row["at"] for row in by_state),
        site_events=SiteEvent.objects.aggregate(last=Max("seq"))["last"] or 0,
    )


def _age(now: datetime, moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())


def _orders(now: datetime) -> list[Orders]:
    rows = (
        Evaluation.objects.unjudged()
        .filter(campaign__bundle__isnull=True)
        .order_by()
        .values("device", "state")
        .annotate(
            n=Count("pk"),
            queued=Min("queued_at"),
            claimed=Min("claimed_at"),
            lease=Min("lease_expires_at"),
            workers=Count("worker", distinct=True),
        )
    )
    return [
        Orders(
            row["device"],
            row["state"],
            row["n"],
            _age(now, row["queued"] if row["state"] == "queued" else row["claimed"]),
            _age(now, row["lease"]),
            row["workers"],
        )
        for row in rows
    ]


def _devices(now: datetime) -> list[Devices]:
    rows = Worker.objects.alive(now).order_by().values("device", "level")
    counted = rows.annotate(n=Count("pk"), held=Sum("devices"))
    return [Devices(row["device"], row["level"], row["n"], row["held"]) for row in counted]


def _sessions(now: datetime) -> list[Sessions]:
    rows = (
        Session.objects.filter(state=SessionState.RUNNING)
        .order_by()
        .values("campaign__proposer")
        .annotate(
            waiting=Count("pk", filter=Q(worker="")), working=Count("pk", filter=~Q(worker="")), at=Min("started_at")
        )
    )
    return [Sessions(row["campaign__proposer"], row["working"], row["waiting"], _age(now, row["at"])) for row in rows]


def _campaigns(now: datetime) -> list[CampaignFigures]:
    """Those that are live or ended lately, the newest first."""
    found = Campaign.objects.filter(bundle__isnull=True).filter(
        Q(state__in=LIVE_CAMPAIGN_STATES) | Q(finished_at__gt=now - SHOWN_FOR)
    )
    rows = list(
        found.order_by("-pk").values(
            "pk", "slug", "state", "keep_count", "last_seq", "trial_count", "aborts_in_a_row", "created_at",
            "best_score", "repeat_seconds", "spec__profile", "tally_scale__time_power",
        )[:MOST_CAMPAIGNS]
    )  # fmt: skip
    labels = _labels([row["pk"] for row in rows])
    rates = _rates(now, rows)
    accounts = {
        account.campaign_id: account
        for account in Account.objects.filter(campaign__in=[row["pk"] for row in rows], role="")
    }
    return [_figures(row, labels[row["pk"]], rates.get(row["pk"], 0.0), accounts.get(row["pk"])) for row in rows]


def _figures(
    row: dict[str, Any], labels: dict[str, tuple[int, float]], per_hour: float, account: Account | None
) -> CampaignFigures:
    profile = row["spec__profile"] or {}
    measured = sum(seconds for _, seconds in labels.values()) + row["repeat_seconds"]
    return CampaignFigures(
        slug=row["slug"],
        state=row["state"],
        trials=row["trial_count"],
        keeps=row["keep_count"],
        events=row["last_seq"],
        aborts_in_a_row=row["aborts_in_a_row"],
        per_hour=per_hour,
        device=str(profile.get("device", "")),
        device_seconds=measured * int(profile.get("devices", 1)),
        best_score=row["best_score"],
        labels={label: trials for label, (trials, _) in labels.items()},
        usd=0.0 if account is None else float(account.cost),
        tokens=0 if account is None else account.input_tokens + account.output_tokens,
        requests=0 if account is None else account.requests,
        failures=0 if account is None else account.failures,
    )


def _labels(campaigns: list[int]) -> dict[int, dict[str, tuple[int, float]]]:
    """Campaign -> standing -> trials and seconds of measurement: at most a row for each role and label."""
    rows = (
        Tally.objects.filter(campaign__in=campaigns, bin=WHOLE)
        .order_by()
        .values("campaign", "label")
        .annotate(n=Sum("trials"), run=Sum("run_ms"), scored=Sum("eval_ms"))
    )
    found: dict[int, dict[str, tuple[int, float]]] = defaultdict(dict)
    for row in rows:
        found[row["campaign"]][row["label"]] = (int(row["n"]), float(row["run"] + row["scored"]) / 1000)
    return found


def _rates(now: datetime, rows: Iterable[dict[str, Any]]) -> dict[int, float]:
    """Campaign -> trials an hour over the newest stretches that cover an hour, or all of a search that is younger."""
    since: dict[int, float] = {}
    wanted = Q(pk__in=[])
    for row in rows:
        if row["tally_scale__time_power"] is None:
            continue
        width = STRETCH_SECONDS * 2 ** row["tally_scale__time_power"]
        age = (now - row["created_at"]).total_seconds()
        first = int(max(0.0, age - RATE_OVER.total_seconds()) // width)
        since[row["pk"]] = max(age - first * width, STRETCH_SECONDS)
        wanted |= Q(campaign=row["pk"], bin__gte=first)
    counted = Tally.objects.filter(wanted, role=ALL_ROLES).order_by().values("campaign").annotate(n=Sum("trials"))
    return {row["campaign"]: 3600 * float(row["n"]) / since[row["campaign"]] for row in counted}
