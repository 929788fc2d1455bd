"""The ledger's pen: one numbered, chained event per change, published after commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import islice

from django.db import transaction
from django.utils import timezone

from trials import live
from trials.canonical import dumps, sha256_of
from trials.models import Campaign, Event, Trial
from trials.vocab import EventKind

EVENTS_AT_ONCE = 2_000


def chain_hash(*, seq: int, at: datetime, kind: str, actor: str, trial: int | None, body: str, previous: str) -> str:
    """SHA-256 (hex) of one event; ``body`` is its canonical payload, ``previous`` the hash before it."""
    return sha256_of(
        {
            "seq": seq,
            "at": at.isoformat(),
            "kind": kind,
            "actor": actor,
            "trial": trial,
            "body": body,
            "previous": previous,
        }
    )


def append_event(
    campaign: Campaign, kind: EventKind, actor: str, payload: Mapping[str, object], trial: Trial | None = None
) -> Event:
    """Add the next event of a locked campaign and save its counters. Must run inside the caller's transaction."""
    event = _next_event(campaign, kind, actor, payload, trial)
    event.save(force_insert=True)
    campaign.save()
    transaction.on_commit(partial(live.publish_event, campaign, event, trial), robust=True)
    return event


def append_imported(
    campaign: Campaign, kind: EventKind, actor: str, entries: Iterable[tuple[Mapping[str, object], Trial]]
) -> None:
    """Events of a campaign that nobody watches yet, many at a time: the caller saves its counters afterwards."""
    events = (_next_event(campaign, kind, actor, payload, trial) for payload, trial in entries)
    while batch := list(islice(events, EVENTS_AT_ONCE)):
        Event.objects.bulk_create(batch)


def _next_event(
    campaign: Campaign, kind: EventKind, actor: str, payload: Mapping[str, object], trial: Trial | None
) -> Event:
    """The next link of the chain, not saved yet; the campaign's counters have moved on to it."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("an event needs the transaction that changes the row")
    body = dumps(payload)
    at = timezone.now()
    seq = campaign.last_seq + 1
    event = Event(
        campaign=campaign,
        seq=seq,
        at=at,
        kind=kind,
        actor=actor,
        trial=trial,
        body=body,
        previous_sha256=campaign.head_sha256,
        sha256=chain_hash(
            seq=seq,
            at=at,
            kind=kind,
            actor=actor,
            trial=None if trial is None else trial.number,
            body=body,
            previous=campaign.head_sha256,
        ),
    )
    campaign.last_seq = seq
    campaign.head_sha256 = event.sha256
    return event
