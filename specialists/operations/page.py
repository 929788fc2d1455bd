"""What the page of workers and queues shows: who runs what since when, what is queued, what hangs. Bounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

from specialists import quotas
from specialists.models import Session
from specialists.operations import waits
from specialists.operations.ticking import LATE_SECONDS, tick_age
from specialists.vocab import REPEATABLE, SessionState
from trials.access import Viewer, sees_every_campaign, visible_campaigns
from trials.models import Campaign, Evaluation
from trials.services import shares
from trials.share_models import Turn
from trials.vocab import EvaluationState
from trials.worker_models import Worker

MOST_ROWS = 200
SHOWN = ("worker", "device", "campaign", "purpose", "phase", "progress", "claimed_at", "trial__number")
"""Of a work order."""


@dataclass(frozen=True)
class Holder:
    """One evaluator process, or a silent one that still holds a work order, and what it does. campaign: None where it
    does nothing, or nothing that this viewer may see (``hidden``)."""

    name: str
    device: str
    level: str
    has: str
    since: datetime | None
    seen: datetime | None
    order: Evaluation | None
    campaign: Campaign | None
    hidden: bool
    version: str

    @property
    def state(self) -> str:
        return "silent" if self.seen is None else "busy" if self.order is not None or self.hidden else "free"


@dataclass(frozen=True)
class Queue:
    """One queue: what waits in it, since when the oldest, what is at work, and who listens (None: not known)."""

    name: str
    waiting: int
    oldest: datetime | None
    working: int
    listening: int | None


@dataclass(frozen=True)
class Sharer:
    """A campaign that has or wants evaluators. part: of their time, should all that do go on wanting more than they
    get; used: device seconds of its measurements that ended."""

    campaign: Campaign
    device: str
    weight: int
    part: float
    running: int
    waiting: int
    used: float


def context(user: Viewer) -> dict[str, Any]:
    """For the page's template. Raises PermissionDenied."""
    now = timezone.now()
    seen = visible_campaigns(user)
    known = {campaign.pk: campaign for campaign in waits.at_work(seen)}
    workers = list(Worker.objects.alive(now)[:MOST_ROWS])
    holders, queues = list(_holders(workers, seen, known)), _queues(now)
    found = waits.waits_of(list(known.values()), now)
    age = tick_age()
    return {
        "holders": holders,
        "queues": queues,
        "shares": list(_shares(seen, known)),
        "sessions": _sessions(seen, known),
        "hangs": [wait for wait in found if wait.hangs],
        "waits": [wait for wait in found if not wait.hangs],
        "alive": sum(holder.seen is not None for holder in holders),
        "busy": sum(holder.state == "busy" for holder in holders),
        "queued": sum(queue.waiting for queue in queues),
        "oldest": min((queue.oldest for queue in queues if queue.oldest), default=None),
        "tick_age": age,
        "ticks": age is not None and age <= LATE_SECONDS,
        "seq": seq_of(user),
        "people": _people(user),
    }


def seq_of(user: Viewer) -> int:
    """Changes whenever a campaign at work that ``user`` sees has an event. Raises PermissionDenied."""
    return int(visible_campaigns(user).at_work().aggregate(sum=Sum("last_seq"))["sum"] or 0)


def _people(user: Viewer) -> list[tuple[User, quotas.Used, quotas.Limits]]:
    """Who uses what: everybody for those who see every campaign, oneself for others."""
    among = quotas.counted_people() if sees_every_campaign(user) else User.objects.filter(username=user.get_username())
    people = list(among.select_related("quota").order_by("username")[:MOST_ROWS])
    used = quotas.used_by([one.pk for one in people])
    return [(one, used[one.pk], quotas.limits_of(one)) for one in people]


def _holders(workers: list[Worker], seen: Any, known: Mapping[int, Campaign]) -> Iterator[Holder]:
    """Live processes by device and name, then the silent ones that hold a lease."""
    running = Evaluation.objects.unjudged().filter(state=EvaluationState.RUNNING, campaign__bundle__isnull=True)
    orders: Mapping[str, Evaluation] = {
        order.worker: order for order in running.select_related("trial").only(*SHOWN)[:MOST_ROWS]
    }
    campaigns = _campaigns((order.campaign_id for order in orders.values()), seen, known)

    def holder(name: str, device: str, worker: Worker | None) -> Holder:
        order = orders.get(name)
        campaign = None if order is None else campaigns.get(order.campaign_id)
        return Holder(
            name=name,
            device=device,
            level="" if worker is None else worker.level,
            has="" if worker is None else worker.device_name,
            since=None if worker is None else worker.started_at,
            seen=None if worker is None else worker.seen_at,
            order=None if campaign is None else order,
            campaign=campaign,
            hidden=order is not None and campaign is None,
            version="" if worker is None else str(worker.details.get("version", "")),
        )

    for worker in workers:
        yield holder(worker.name, worker.device, worker)
    heard_of = {worker.name for worker in workers}
    for name, order in orders.items():
        if name not in heard_of:
            yield holder(name, order.device, None)


def _queues(now: datetime) -> list[Queue]:
    """Queues of all campaigns: their lengths give nothing away that is hidden."""
    rows = Evaluation.objects.unjudged().filter(campaign__bundle__isnull=True).order_by().values("device")
    counted = rows.annotate(
        waiting=Count("pk", filter=Q(state=EvaluationState.QUEUED)),
        oldest=Min("queued_at", filter=Q(state=EvaluationState.QUEUED)),
        working=Count("pk", filter=Q(state=EvaluationState.RUNNING)),
        measured=Count("pk", filter=Q(state=EvaluationState.MEASURED)),
        since=Min("measured_at", filter=Q(state=EvaluationState.MEASURED)),
    )
    orders = {row["device"]: row for row in counted}
    listening = {
        row["device"]: row["n"] for row in Worker.objects.alive(now).order_by().values("device").annotate(n=Count("pk"))
    }
    nothing = {"waiting": 0, "oldest": None, "working": 0, "measured": 0, "since": None}
    found = [
        Queue(f"evaluators.{device}", row["waiting"], row["oldest"], row["working"], listening.get(device, 0))
        for device in sorted({"cpu"} | orders.keys() | listening.keys())
        for row in [orders.get(device, nothing)]
    ]
    judge = sum(row["measured"] for row in orders.values())
    since = min((row["since"] for row in orders.values() if row["since"]), default=None)
    return [*found, *_agent_queues(), Queue("default", judge, since, 0, None)]


def _campaigns(wanted: Iterable[int], seen: Any, known: Mapping[int, Campaign]) -> dict[int, Campaign]:
    """Those that the viewer sees; only what is not known is read, for a row of a campaign costs more than its line."""
    found = set(wanted)
    missing = found - known.keys()
    return {pk: known[pk] for pk in found & known.keys()} | (seen.in_bulk(missing) if missing else {})


def _shares(seen: Any, known: Mapping[int, Campaign]) -> Iterator[Sharer]:
    """Campaigns that this viewer sees, the greatest part first; weights of the others count."""
    rows = Evaluation.objects.in_flight().filter(campaign__bundle__isnull=True).order_by().values("campaign", "device")
    counted = rows.annotate(
        running=Count("pk", filter=Q(state=EvaluationState.RUNNING)),
        waiting=Count("pk", filter=Q(state=EvaluationState.QUEUED)),
    )
    open_orders = list(counted)
    weights = shares.weights([row["campaign"] for row in open_orders])
    total: dict[str, int] = defaultdict(int)
    for row in open_orders:
        total[row["device"]] += weights[row["campaign"]]
    used = {(turn.campaign_id, turn.resource): turn.used for turn in Turn.objects.filter(campaign__in=list(weights))}
    shown = _campaigns(sorted(weights, key=lambda pk: -weights[pk])[:MOST_ROWS], seen, known)
    for row in sorted(open_orders, key=lambda row: (row["device"], -weights[row["campaign"]], row["campaign"])):
        pk, device = row["campaign"], row["device"]
        if pk in shown:
            part = weights[pk] / total[device]
            yield Sharer(
                shown[pk], device, weights[pk], part, row["running"], row["waiting"], used.get((pk, device), 0.0)
            )


def _agent_queues() -> list[Queue]:
    rows = Session.objects.filter(state=SessionState.RUNNING).order_by().values("campaign__proposer")
    counted = rows.annotate(
        waiting=Count("pk", filter=Q(worker="")),
        oldest=Min("started_at", filter=Q(worker="")),
        working=Count("pk", filter=~Q(worker="")),
    )
    found = []
    for name, mine in (("agents", True), ("agents.models", False)):
        own = [row for row in counted if (row["campaign__proposer"] in REPEATABLE) is mine]
        oldest = min((row["oldest"] for row in own if row["oldest"]), default=None)
        found.append(Queue(name, sum(row["waiting"] for row in own), oldest, sum(row["working"] for row in own), None))
    return found


def _sessions(seen: Any, known: Mapping[int, Campaign]) -> list[Session]:
    """Open sessions of visible campaigns, the oldest first."""
    rows = Session.objects.filter(state=SessionState.RUNNING, campaign__in=seen.live().values("pk"))
    found = list(rows.only("campaign", "number", "role", "worker", "started_at").order_by("started_at")[:MOST_ROWS])
    campaigns = _campaigns((session.campaign_id for session in found), seen, known)
    shown = [session for session in found if session.campaign_id in campaigns]
    for session in shown:
        session.campaign = campaigns[session.campaign_id]
    return shown
