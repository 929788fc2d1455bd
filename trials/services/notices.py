"""Telling people of what happens: who wants to know, what there is to tell, and sending it until it arrives.

A look at a campaign reads what came after the last look, under a lock and in one transaction with the messages that it
makes: nothing is told twice by the site, nothing is left out. A message may still arrive twice, when the receiver's
answer is lost: it carries its number.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Q

from trials import clock, outbound
from trials.access import visible_campaigns
from trials.canonical import dumps
from trials.formatting import short
from trials.models import Campaign, Event, FrontierStep
from trials.notice_models import Delivery, Watch, Webhook
from trials.vocab import CampaignState, DeliveryState, EventKind, Notice

MOST_WEBHOOKS = 20
WAITS = tuple(timedelta(seconds=seconds) for seconds in (30, 120, 600, 3600, 4 * 3600))
"""After each failed attempt; after the last a message is given up."""
LEASE = timedelta(minutes=2)
KEPT = timedelta(days=30)
STALLED = timedelta(minutes=30)
"""A running campaign that has recorded nothing for so long has stalled."""
HYPOTHESIS = 300
AT_ONCE = 500
LONG_AGO = 5_000
"""Events after which a look begins anew where somebody began to listen."""
ENDED = {str(CampaignState.FINISHED), str(CampaignState.STOPPED), str(CampaignState.FAILED)}


class NoticeError(ValueError):
    """A webhook cannot be made: the message says what was expected."""


def make_webhook(user: User, url: str, kinds: Iterable[str], campaign: Campaign | None) -> Webhook:
    """Raises NoticeError; the address is resolved now, and again before every message."""
    wanted = sorted(set(kinds) & {str(kind) for kind in Notice} - {Notice.TEST})
    if not wanted:
        raise NoticeError("nothing to tell of, expected at least one kind of message")
    if Webhook.objects.filter(user=user).count() >= MOST_WEBHOOKS:
        raise NoticeError(f"you have {MOST_WEBHOOKS} addresses, expected fewer: remove one first")
    try:
        outbound.resolve(url, settings.WEBHOOK_NETWORKS)
    except (outbound.BadAddress, outbound.NotDelivered) as error:
        raise NoticeError(str(error)) from error
    secret = secrets.token_hex(32)
    return Webhook.objects.create(user=user, campaign=campaign, url=url, secret=secret, kinds=wanted, since=clock.now())


def drop_webhook(webhook: Webhook) -> None:
    """Nothing is sent there any more."""
    Webhook.objects.filter(pk=webhook.pk).delete()


def send_test(webhook: Webhook) -> Delivery:
    """Queue a message that says only that it is one."""
    now = clock.now()
    fact = Fact(Notice.TEST, f"test:{now.isoformat()}", now, {"text": "A test: messages arrive."})
    return Delivery.objects.create(**_delivery(webhook, None, fact))


@dataclass(frozen=True)
class Fact:
    """Something to tell of a campaign. key: what it is, told once to each address."""

    kind: Notice
    key: str
    at: datetime
    body: dict[str, Any]


def look() -> list[int]:
    """Look through all campaigns that somebody wants to hear of; returns messages (primary keys) that are due now."""
    now = clock.now()
    wanted = Webhook.objects.filter(user__is_active=True).values_list("campaign_id", flat=True).distinct()
    named = set(wanted)
    if named:
        campaigns = Campaign.objects.filter(bundle__isnull=True)
        if None not in named:
            campaigns = campaigns.filter(pk__in=named)
        # What has ended is looked at until its last event was.
        moved = Q(watch__isnull=True) | Q(last_seq__gt=F("watch__seq")) | Q(state=CampaignState.RUNNING)
        for pk in campaigns.filter(moved).order_by("pk").values_list("pk", flat=True):
            _look_at(pk, now)
    Delivery.objects.filter(made_at__lt=now - KEPT).exclude(state=DeliveryState.QUEUED).delete()
    due = Delivery.objects.filter(state=DeliveryState.QUEUED, due_at__lte=clock.now()).order_by("due_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


@transaction.atomic
def _look_at(campaign_id: int, now: datetime) -> None:
    """What happened since the last look becomes messages."""
    campaign = Campaign.objects.get(pk=campaign_id)
    webhooks = list(
        Webhook.objects.filter(Q(campaign=campaign) | Q(campaign=None), user__is_active=True).select_related("user")
    )
    if not webhooks:
        return
    watch, made = Watch.objects.select_for_update().get_or_create(campaign=campaign)
    if made or campaign.last_seq - watch.seq > LONG_AGO:
        _begin(campaign, watch, min(hook.since for hook in webhooks))
    found = [*_states(campaign, watch), *_improvements(campaign, watch), *_stalled(campaign, now)]
    watch.save()
    seeing = [hook for hook in webhooks if found and visible_campaigns(hook.user).filter(pk=campaign.pk).exists()]
    Delivery.objects.bulk_create(
        [
            Delivery(**_delivery(hook, campaign, fact))
            for hook in seeing
            for fact in found
            if str(fact.kind) in hook.kinds and fact.at >= hook.since
        ],
        ignore_conflicts=True,
    )


def _begin(campaign: Campaign, watch: Watch, since: datetime) -> None:
    """Nobody is told of what was before ``since``: the look begins there."""
    events = Event.objects.filter(campaign=campaign, at__lt=since).order_by("-seq").values_list("seq", flat=True)
    steps = FrontierStep.objects.filter(campaign=campaign, at__lt=since).order_by("-pk").values_list("pk", flat=True)
    watch.seq, watch.step = max(watch.seq, events.first() or 0), max(watch.step, steps.first() or 0)


def _states(campaign: Campaign, watch: Watch) -> list[Fact]:
    """Ends, and pauses by the breaker. Moves the watch on."""
    events = Event.objects.filter(campaign=campaign, seq__gt=watch.seq, kind=EventKind.CAMPAIGN_STATE).order_by("seq")
    found = []
    for event in events:
        told = event.payload
        kind = Notice.FINISHED if told["to"] in ENDED else Notice.BREAKER if event.actor == "breaker" else None
        if kind is not None:
            body = {"state": told["to"], "reason": short(str(told["reason"]), 300), "best_score": campaign.best_score}
            found.append(Fact(kind, f"event:{event.seq}", event.at, body))
    watch.seq = max(watch.seq, campaign.last_seq)
    return found


def _improvements(campaign: Campaign, watch: Watch) -> list[Fact]:
    """New bests; the start is none. Moves the watch on."""
    steps = list(
        FrontierStep.objects.filter(campaign=campaign, pk__gt=watch.step).select_related("trial").order_by("pk")
    )
    found = [
        Fact(Notice.BEST, f"best:{step.pk}", step.at, {
            "trial": step.number,
            "score": step.score,
            "role": step.trial.role,
            "hypothesis": short(step.trial.hypothesis, HYPOTHESIS),
            "start_score": campaign.start_score,
        })
        for step in steps
        if step.number > 0
    ]  # fmt: skip
    watch.step = max((step.pk for step in steps), default=watch.step)
    return found


def _stalled(campaign: Campaign, now: datetime) -> list[Fact]:
    """Told once for each silence."""
    last = campaign.last_recorded_at or campaign.created_at
    if campaign.state != CampaignState.RUNNING or now - last < STALLED:
        return []
    minutes = int((now - last).total_seconds() // 60)
    body = {"last_recorded_at": last.isoformat(), "minutes": minutes, "trials": campaign.trial_count}
    return [Fact(Notice.STALLED, f"stalled:{last.isoformat()}", now, body)]


def _delivery(webhook: Webhook, campaign: Campaign | None, fact: Fact) -> dict[str, Any]:
    about = {} if campaign is None else {
        "campaign": campaign.slug, "name": campaign.name, "environment": campaign.environment,
        "score_name": campaign.score_name, "direction": campaign.direction, "page": campaign.get_absolute_url(),
    }  # fmt: skip
    body = {"kind": str(fact.kind), "at": fact.at.isoformat(), **about, **fact.body}
    now = clock.now()
    return {"webhook": webhook, "campaign": campaign, "kind": str(fact.kind), "key": fact.key, "body": body,
            "made_at": now, "due_at": now}  # fmt: skip


def signature(secret: str, moment: int, body: bytes) -> str:
    """What the header says: the time of sending, and HMAC-SHA256 over ``TIME.BODY``."""
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={mac}"


def deliver(delivery_id: int) -> DeliveryState | None:
    """Try to send a message that is due; None where it is not, or somebody else tries it now."""
    now = clock.now()
    due = Delivery.objects.filter(pk=delivery_id, state=DeliveryState.QUEUED, due_at__lte=now)
    if not due.update(due_at=now + LEASE, attempts=F("attempts") + 1):
        return None
    message = Delivery.objects.select_related("webhook", "webhook__user", "campaign").get(pk=delivery_id)
    hook = message.webhook
    if not _still_sees(message):
        return _close(message, DeliveryState.FAILED, "its owner does not see this campaign any more")
    body = dumps(message.body).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "autoresearch-webhook/1",
        "X-Autoresearch-Delivery": str(message.pk),
        "X-Autoresearch-Kind": str(message.kind),
        "X-Autoresearch-Signature": signature(hook.secret, int(time.time()), body),
    }
    try:
        status = outbound.post(hook.url, body, headers, settings.WEBHOOK_NETWORKS)
    except outbound.BadAddress as error:
        return _close(message, DeliveryState.FAILED, str(error))
    except outbound.NotDelivered as error:
        return _again(message, str(error))
    return _close(message, DeliveryState.SENT, f"answered {status}")


def _still_sees(message: Delivery) -> bool:
    user = message.webhook.user
    if not user.is_active:
        return False
    return message.campaign is None or visible_campaigns(user).filter(pk=message.campaign_id).exists()


def _again(message: Delivery, told: str) -> DeliveryState:
    if message.attempts > len(WAITS):
        return _close(message, DeliveryState.FAILED, f"given up after {message.attempts} attempts: {told}")
    due = clock.now() + WAITS[message.attempts - 1]
    Delivery.objects.filter(pk=message.pk).update(due_at=due, told=told[:300])
    return DeliveryState.QUEUED


def _close(message: Delivery, state: DeliveryState, told: str) -> DeliveryState:
    sent = clock.now() if state is DeliveryState.SENT else None
    Delivery.objects.filter(pk=message.pk).update(state=state, told=told[:300], sent_at=sent)
    return state
