"""What hangs and why: one function that says of every campaign at work what it waits for. Reads a bounded amount.

A wait *hangs* when time alone does not end it: somebody has to start a worker, answer, pay, or repair something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q
from django.utils import timezone

from evaluators import devices, fit
from specialists import loop
from specialists.dispatch import queue_of
from specialists.models import Account, Session
from specialists.operations.crews import Crew, crews
from specialists.operations.ticking import LATE_SECONDS, tick_age
from specialists.quotas import PAUSED_BY
from specialists.situation import situation
from specialists.vocab import SessionState
from trials.models import Approval, Campaign, Confirmation, Evaluation, Event
from trials.querysets import CampaignQuerySet
from trials.services import maintenance, shares
from trials.site_models import Maintenance
from trials.vocab import LIVE_CAMPAIGN_STATES, CampaignState, EvaluationState, KeepRule
from trials.worker_models import Worker

MOST_CAMPAIGNS = 200
MOST_ASKED = 20
"""Idle campaigns whose next step is worked out: each costs what one step of the loop reads."""
SOON = timedelta(seconds=30)
"""What is done within this is at work, not waiting."""


@dataclass(frozen=True)
class Wait:
    """One thing that a campaign waits for. kind: a word for programs; told: for people; act: what ends it; since: of
    the oldest; count: how many wait so; hangs: time alone does not end it."""

    campaign: str
    name: str
    state: str
    kind: str
    told: str
    act: str = ""
    since: datetime | None = None
    count: int = 1
    hangs: bool = False

    def as_json(self, now: datetime) -> dict[str, Any]:
        """Plain values; times are ISO 8601 UTC, ``seconds`` since then."""
        seconds = None if self.since is None else round((now - self.since).total_seconds(), 1)
        return asdict(self) | {"since": None if self.since is None else self.since.isoformat(), "seconds": seconds}


@dataclass(frozen=True)
class Group:
    """Orders or sessions of one campaign that stand alike. expired: of how many the lease has run out."""

    campaign: int
    state: str
    fault: str
    count: int
    since: datetime | None
    lease: datetime | None
    expired: int = 0


@dataclass(frozen=True)
class Facts:
    """All that is read of the database, by campaign."""

    now: datetime
    workers: Sequence[Worker]
    orders: dict[int, list[Group]]
    sessions: dict[int, list[Group]]
    asked: dict[int, list[Group]]
    accounts: dict[int, Account]
    closed: dict[int, list[tuple[str, str]]]
    confirming: dict[int, int]
    moved: dict[int, datetime]
    turns: Mapping[str, Sequence[shares.Chance]]
    crews: Mapping[str, Crew]
    visible: Collection[str]
    halted: Maintenance | None

    @classmethod
    def read(cls, campaigns: Sequence[Campaign], now: datetime) -> Facts:
        """Nine queries, one for each kind of device that somebody waits for, and a few where a session waits long."""
        among = [campaign.pk for campaign in campaigns]
        confirming = Confirmation.objects.filter(campaign__in=among, ruling="").order_by().values("campaign")
        accounts = list(Account.objects.filter(Q(role="") | ~Q(closed=""), campaign__in=among).order_by("role"))
        closed: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for account in accounts:
            if account.closed:
                closed[account.campaign_id].append((account.role, account.closed))
        orders = _orders(among, now)
        queued = {campaign.pk for campaign in campaigns if _is_queued(orders[campaign.pk])}
        sessions = _sessions(among)
        late = {queue_of(one.proposer) for one in campaigns if any(_late(each, now) for each in sessions[one.pk])}
        kinds = {str(campaign.spec["profile"]["device"]) for campaign in campaigns if campaign.pk in queued}
        return cls(
            now=now,
            workers=list(Worker.objects.alive(now)),
            orders=orders,
            sessions=sessions,
            asked=_asked(among),
            accounts={account.campaign_id: account for account in accounts if not account.role},
            closed=closed,
            confirming={row["campaign"]: row["n"] for row in confirming.annotate(n=Count("pk"))},
            moved=_moved(campaigns),
            turns={kind: shares.waiting(kind) for kind in kinds},
            crews=crews(late, now),
            visible={campaign.slug for campaign in campaigns},
            halted=maintenance.current(),
        )


def _is_queued(orders: Sequence[Group]) -> bool:
    return any(order.state == EvaluationState.QUEUED for order in orders)


def _late(session: Group, now: datetime) -> bool:
    """Waits for a worker longer than a moment."""
    return session.state == "waiting" and session.since is not None and now - session.since > SOON


def _moved(campaigns: Sequence[Campaign]) -> dict[int, datetime]:
    """When the newest event of those that are paused was written."""
    wanted = Q(pk__in=[])
    for campaign in campaigns:
        if campaign.state == CampaignState.PAUSED:
            wanted |= Q(campaign=campaign.pk, seq=campaign.last_seq)
    return dict(Event.objects.filter(wanted).values_list("campaign", "at"))


def _by_campaign(groups: Iterable[Group]) -> dict[int, list[Group]]:
    found: dict[int, list[Group]] = defaultdict(list)
    for group in groups:
        found[group.campaign].append(group)
    return found


def _orders(among: list[int], now: datetime) -> dict[int, list[Group]]:
    rows = Evaluation.objects.unjudged().filter(campaign__in=among).order_by().values("campaign", "state", "fault")
    counted = rows.annotate(
        n=Count("pk"),
        queued=Min("queued_at"),
        claimed=Min("claimed_at"),
        measured=Min("measured_at"),
        lease=Min("lease_expires_at"),
        expired=Count("pk", filter=Q(lease_expires_at__lt=now)),
    )
    since = {EvaluationState.QUEUED: "queued", EvaluationState.RUNNING: "claimed"}
    return _by_campaign(
        Group(
            row["campaign"],
            row["state"],
            row["fault"],
            row["n"],
            row[since.get(row["state"], "measured")],
            row["lease"],
            row["expired"],
        )
        for row in counted
    )


def _sessions(among: list[int]) -> dict[int, list[Group]]:
    rows = Session.objects.filter(state=SessionState.RUNNING, campaign__in=among).order_by().values("campaign")
    counted = rows.annotate(
        waiting=Count("pk", filter=Q(worker="")),
        since=Min("started_at", filter=Q(worker="")),
        working=Count("pk", filter=~Q(worker="")),
        begun=Min("started_at", filter=~Q(worker="")),
        lease=Min("lease_expires_at", filter=~Q(worker="")),
    )
    return _by_campaign(
        group
        for row in counted
        for group in (
            Group(row["campaign"], "waiting", "", row["waiting"], row["since"], None),
            Group(row["campaign"], "working", "", row["working"], row["begun"], row["lease"]),
        )
        if group.count
    )


def _asked(among: list[int]) -> dict[int, list[Group]]:
    rows = Approval.objects.filter(campaign__in=among, answer="").order_by().values("campaign", "subject")
    counted = rows.annotate(n=Count("pk"), since=Min("asked_at"))
    return _by_campaign(Group(row["campaign"], row["subject"], "", row["n"], row["since"], None) for row in counted)


def hanging(among: CampaignQuerySet | None = None, now: datetime | None = None) -> list[Wait]:
    """What every campaign of ``among`` (all of this site) that is live, or is measured again after its end, waits for;
    what hangs comes first, then the oldest."""
    return waits_of(at_work(Campaign.objects.all() if among is None else among), now or timezone.now())


def at_work(among: CampaignQuerySet) -> list[Campaign]:
    """Those of them, the newest first, at most MOST_CAMPAIGNS."""
    return list(among.at_work().order_by("-pk")[:MOST_CAMPAIGNS])


def waits_of(working: Sequence[Campaign], now: datetime) -> list[Wait]:
    """``hanging`` of campaigns that are at work."""
    facts = Facts.read(working, now)
    found: list[Wait] = list(_site(facts)) if working else []
    asked = 0
    for campaign in working:
        own = list(_of(campaign, facts))
        if not own and not _at_work(campaign, facts) and asked < MOST_ASKED:
            asked += 1
            own = list(_idle(campaign, facts))
        found += own
    return sorted(found, key=lambda wait: (not wait.hangs, wait.since or now, wait.campaign))


def _site(facts: Facts) -> Iterator[Wait]:
    """What concerns all campaigns: maintenance, and the tick that finds what was lost."""
    if (halted := facts.halted) is not None:
        told = f"the site is in maintenance {halted}: nothing new is begun"
        yield Wait("", "", "", "maintenance", told, "manage.py maintenance off", halted.since, hangs=True)
    age = tick_age()
    if age is None or age > LATE_SECONDS:
        since = None if age is None else facts.now - timedelta(seconds=age)
        told = "the periodic tick is not known to run" if age is None else "the periodic tick does not run"
        act = "start one beat, and a worker for the queue default"
        yield Wait("", "", "", "no_tick", f"{told}: what was lost is not found again", act, since, hangs=True)


def _at_work(campaign: Campaign, facts: Facts) -> bool:
    """Somebody holds a lease for it, or it asks for nothing."""
    asks = campaign.state in LIVE_CAMPAIGN_STATES and campaign.state != CampaignState.PAUSED
    return not asks or bool(facts.orders[campaign.pk] or facts.sessions[campaign.pk])


def _of(campaign: Campaign, facts: Facts) -> Iterator[Wait]:
    wait = Waiter(campaign)
    if campaign.state == CampaignState.PAUSED:
        yield _paused(campaign, facts)
    for asked in facts.asked[campaign.pk]:
        many = f"{asked.count} keeps" if asked.count > 1 else "a keep"
        told = f"a person has to approve {many if asked.state == 'keep' else f'more {asked.state}'}"
        act = f"approve or refuse it on the admin's page, or: manage.py campaign approve {campaign.slug}"
        yield wait("approval", told, act, asked.since, asked.count, hangs=True)
    for order in facts.orders[campaign.pk]:
        yield from _order(campaign, order, facts)
    for session in facts.sessions[campaign.pk]:
        yield from _session(campaign, session, facts)
    if campaign.state not in LIVE_CAMPAIGN_STATES:
        return
    for role, why in facts.closed[campaign.pk]:
        whose = f"role {role}" if role else "the campaign"
        yield wait("budget", f"{whose} has no budget for language models left: {why}", "", hangs=not role)
    account = facts.accounts.get(campaign.pk)
    failed = max(campaign.aborts_in_a_row, account.failures if account else 0)
    if failed and campaign.state == CampaignState.RUNNING:
        yield wait("failing", f"{failed} infrastructure failures in a row; more of them pause it", "", None, failed)


class Waiter:
    """``Wait`` with the campaign filled in."""

    def __init__(self, campaign: Campaign) -> None:
        self.of = (campaign.slug, campaign.name, campaign.state)

    def __call__(
        self, kind: str, told: str, act: str = "", since: datetime | None = None, count: int = 1, *, hangs: bool = False
    ) -> Wait:
        return Wait(*self.of, kind, told, act, since, count, hangs)


def _paused(campaign: Campaign, facts: Facts) -> Wait:
    wait, why, since = Waiter(campaign), campaign.state_reason or "paused", facts.moved.get(campaign.pk)
    if why.startswith("paused by "):
        return wait("paused", why, "resume it", since, hangs=True)
    if why.startswith(PAUSED_BY):
        act = "raise the quota in the admin or with manage.py quota, then resume it"
        return wait("quota", why, act, since, hangs=True)
    return wait("breaker", why, "look into the reason, then resume it", since, hangs=True)


def _order(campaign: Campaign, order: Group, facts: Facts) -> Iterator[Wait]:
    wait, since = Waiter(campaign), order.since or facts.now
    if order.state == EvaluationState.QUEUED:
        yield _queued(campaign, order, facts)
    elif order.state == EvaluationState.RUNNING:
        if order.lease is not None and order.lease < facts.now:
            told = "the evaluator has fallen silent and nobody has taken its trial over"
            hangs = facts.now - order.lease > SOON
            yield wait(
                "lease_expired",
                told,
                "see that the beat and the queue default run",
                order.lease,
                order.expired,
                hangs=hangs,
            )
    elif facts.now - since > SOON:
        yield _unjudged(campaign, order, facts)


def _queued(campaign: Campaign, order: Group, facts: Facts) -> Wait:
    wait, needs = Waiter(campaign), fit.needs_of(campaign.spec["profile"], campaign.minimum_level)
    nobody = fit.why_waiting(facts.workers, needs)
    waits = (order.since, order.count)
    if nobody:
        has = {worker.device for worker in facts.workers}
        kind = "no_worker" if needs.device not in has else "no_fit"
        act = f"start a worker for the queue evaluators.{needs.device} whose isolation reaches {needs.level}"
        return wait(kind, nobody, act, *waits, hangs=True)
    if order.fault.startswith(devices.BUSY):
        return wait("device_busy", order.fault, "", *waits)
    if order.fault:
        return wait("retried", f"an attempt failed: {order.fault}", "see the log of the evaluator", *waits)
    if before := _before(campaign, facts.turns[needs.device]):
        return wait("share", f"its share of evaluators.{needs.device} is used: {before}", "", *waits)
    able = sum(not fit.misfit(worker, needs) for worker in facts.workers)
    return wait("queue", f"waits for its turn at {able} evaluator{'s' if able > 1 else ''}", "", *waits)


def _before(campaign: Campaign, turns: Sequence[shares.Chance]) -> str:
    """Whose turn comes first, in words; empty when it is this campaign's, or as much its as anybody's."""
    mine = next((turn for turn in turns if turn.campaign == campaign.pk), None)
    first = 0 if mine is None else sum(turn.start < mine.start for turn in turns)
    if mine is None or not first:
        return ""
    total = sum(turn.weight for turn in turns)
    others = f"{first} other{' is' if first == 1 else 's are'} next"
    return f"weight {mine.weight} of the {total} that wait, {others}"


def _unjudged(campaign: Campaign, order: Group, facts: Facts) -> Wait:
    wait, waits = Waiter(campaign), (order.since, order.count)
    if campaign.keep_rule == KeepRule.VERIFIED and campaign.noise_sd is None:
        return wait("held_back", "measured; judged when the noise of the start is known", "", *waits)
    open_orders = any(each.state != EvaluationState.MEASURED for each in facts.orders[campaign.pk])
    if campaign.reproducible and (open_orders or facts.confirming.get(campaign.pk)):
        return wait("held_back", "measured; recorded in number order, after earlier trials are decided", "", *waits)
    return wait(
        "judge", "measured, and nobody has judged it", "start a worker for the queue default", *waits, hangs=True
    )


def _session(campaign: Campaign, session: Group, facts: Facts) -> Iterator[Wait]:
    wait = Waiter(campaign)
    if _late(session, facts.now) and facts.halted is None:
        yield _untaken(campaign, session, facts)
    if session.lease is not None and session.lease < facts.now:
        told = "the agent's worker has fallen silent and nobody has closed its session"
        hangs = facts.now - session.lease > SOON
        yield wait(
            "lease_expired",
            told,
            "see that the beat and the queue default run",
            session.lease,
            session.count,
            hangs=hangs,
        )


def _untaken(campaign: Campaign, session: Group, facts: Facts) -> Wait:
    wait, queue, waits = Waiter(campaign), queue_of(campaign.proposer), (session.since, session.count)
    crew = facts.crews[queue]
    if not crew.works(facts.now, SOON):
        told = f"no worker of the queue {queue} has taken the session"
        return wait("no_agent_worker", told, f"start a worker for the queue {queue}", *waits, hangs=True)
    told = f"waits for its turn at the workers of the queue {queue}; {crew.told(campaign.slug, facts.visible)}"
    before = _before(campaign, crew.turns)
    return wait("agents_busy", f"{told}; {before}" if before else told, "", *waits)


def _idle(campaign: Campaign, facts: Facts) -> Iterator[Wait]:
    """Nothing is in flight: what the loop would do now, and nobody does."""
    wait = Waiter(campaign)
    if campaign.state == CampaignState.FINALISING:
        yield wait(
            "loop",
            "all is measured, and nobody ends the search",
            "see that the beat and the queue default run",
            hangs=True,
        )
        return
    decision = loop.decide(situation(campaign))
    since = campaign.last_recorded_at or campaign.created_at
    if isinstance(decision, loop.Wait):
        yield wait("loop", decision.reason, "", since, hangs=True)
    elif facts.now - since > SOON:
        told = f"the next step ({type(decision).__name__.lower()}) is due and nobody takes it"
        yield wait("loop", told, "see that the beat and the queue default run", since, hangs=True)
