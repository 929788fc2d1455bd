"""Quotas of people: what they may use, what they have used, and what happens at the limit.

A launch over a limit is refused in words. A running campaign whose launcher has used his hours or dollars is paused at
the next tick, loudly: an event, a reason on its page, a line under what hangs. What is in flight finishes and counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Count, F, Q, QuerySet, Sum

from specialists.models import Account, Quota
from trials.models import Campaign
from trials.services import campaigns
from trials.tallies import WHOLE
from trials.tally_models import Tally
from trials.vocab import LIVE_CAMPAIGN_STATES, CampaignState

PAUSED_BY = "quota of "
"""How the reason of such a pause begins."""


class QuotaReached(ValueError):
    """A limit is used; the message says whose, how much of how much, and what helps."""


@dataclass(frozen=True)
class Limits:
    """None: no limit. device_hours: wall clock of measurements times the devices that each of them holds."""

    campaigns: int | None = None
    device_hours: float | None = None
    usd: float | None = None


@dataclass(frozen=True)
class Used:
    """campaigns: live ones, paused ones too; the others over all that was ever launched here."""

    campaigns: int = 0
    device_hours: float = 0.0
    usd: float = 0.0


def limits_of(user: User) -> Limits:
    """The person's own, or else the site's; superusers without limits of their own have none."""
    own = getattr(user, "quota", None)
    if own is not None:
        return Limits(own.campaigns, own.device_hours, own.usd)
    return Limits() if user.is_superuser else site_limits()


def site_limits() -> Limits:
    """Of everybody without limits of his own."""
    chosen = (settings.QUOTA_CAMPAIGNS, settings.QUOTA_DEVICE_HOURS, settings.QUOTA_USD)
    campaigns, device_hours, usd = (limit or None for limit in chosen)
    return Limits(campaigns, device_hours, usd)


def used_by(users: Collection[int]) -> Mapping[int, Used]:
    """User -> use, zeros for who has launched nothing; three queries, from the sums that are kept with every trial."""
    among = {"created_by__in": users, "bundle__isnull": True}
    devices = "spec__profile__devices"
    live: dict[int, int] = defaultdict(int)
    seconds: dict[int, float] = defaultdict(float)
    rows = Campaign.objects.filter(**among).order_by().values("created_by", devices)
    alive = Count("pk", filter=Q(state__in=LIVE_CAMPAIGN_STATES))
    for row in rows.annotate(alive=alive, again=Sum("repeat_seconds")):
        live[row["created_by"]] += row["alive"]
        seconds[row["created_by"]] += row["again"] * (row[devices] or 1)
    whole = Tally.objects.filter(**{f"campaign__{name}": value for name, value in among.items()}, bin=WHOLE)
    counted = whole.order_by().values("campaign__created_by", f"campaign__{devices}")
    for row in counted.annotate(ms=Sum(F("run_ms") + F("eval_ms"))):
        seconds[row["campaign__created_by"]] += float(row["ms"]) / 1000 * (row[f"campaign__{devices}"] or 1)
    paid = Account.objects.filter(**{f"campaign__{name}": value for name, value in among.items()}, role="")
    usd = dict(paid.order_by().values_list("campaign__created_by").annotate(Sum("cost")))
    return {pk: Used(live[pk], seconds[pk] / 3600, float(usd.get(pk, 0))) for pk in users}


def counted_people() -> QuerySet[User]:
    """Everybody who has launched a campaign or has limits of his own."""
    launched = Campaign.objects.filter(created_by__isnull=False, bundle__isnull=True).values("created_by")
    return User.objects.filter(Q(pk__in=launched) | Q(quota__isnull=False)).distinct()


def spent(user: User) -> str:
    """Which of hours and dollars the person has used up, in words; empty while there is room in both."""
    limits = limits_of(user)
    if limits.device_hours is None and limits.usd is None:
        return ""
    used = used_by([user.pk])[user.pk]
    if limits.device_hours is not None and used.device_hours >= limits.device_hours:
        return f"{PAUSED_BY}{user}: {used.device_hours:.2f} of {limits.device_hours:g} device hours are used"
    if limits.usd is not None and used.usd >= limits.usd:
        return f"{PAUSED_BY}{user}: {used.usd:.2f} of {limits.usd:g} US dollars are used"
    return ""


def full(user: User) -> str:
    """Whether as many campaigns of the person are live as may be, in words; empty while there is room."""
    most = limits_of(user).campaigns
    if most is None:
        return ""
    now = used_by([user.pk])[user.pk].campaigns
    return f"{PAUSED_BY}{user}: {now} of {most} campaigns are live, expected one to end first" if now >= most else ""


def check(user: User | None) -> None:
    """Raises QuotaReached where the person may not launch; None, a command, always may."""
    if user is None:
        return
    why = full(user) or (f"{why}, expected an admin to raise it" if (why := spent(user)) else "")
    if why:
        raise QuotaReached(why)


def take(user: User | None) -> None:
    """``check``, and nobody else launches for this person until the transaction ends. Raises QuotaReached."""
    if user is not None and limits_of(user).campaigns is not None:
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
    check(user)


def change(user: User, limits: Limits) -> None:
    """Give a person limits of his own."""
    user.quota, _ = Quota.objects.update_or_create(user=user, defaults=vars(limits))


def of_launcher(campaign: Campaign) -> str:
    """Why a campaign may not go on for its launcher's use, in words; empty where it may, or a command launched it."""
    launcher = campaign.created_by
    return spent(launcher) if isinstance(launcher, User) else ""


def hold(campaign: Campaign) -> None:
    """Pause a running campaign whose launcher has used his hours or dollars."""
    if campaign.state == CampaignState.RUNNING and (why := of_launcher(campaign)):
        with suppress(campaigns.WrongState):  # somebody else was faster
            campaigns.change_state(campaign.pk, CampaignState.PAUSED, actor="quota", reason=why)
