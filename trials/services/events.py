"""The ledger's pen: one numbered, chained event per change, published after commit."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any

from django.db import transaction

from trials import clock, live, statements
from trials.canonical import dumps
from trials.chain import chain_hash
from trials.commits import after_commit
from trials.models import Campaign, Event, Trial
from trials.services import rows, witness
from trials.site_models import SiteEvent
from trials.vocab import EventKind, SiteEventKind

SALT_BYTES = 16
#: What a campaign keeps from its launch on: not written again with every event, because some of it is long.
FIXED = frozenset(
    {
        "id", "slug", "name", "created_by", "created_at", "environment", "profile", "spec", "spec_sha256", "roster",
        "roles", "proposer", "agent", "lineage", "keep_rule", "enforcement", "direction", "score_name", "minimum_level",
        "seed", "reproducible", "origin", "checkpoints",
    }
)  # fmt: skip
#: Events that an evaluator's host appends: its database role may move a campaign's chain on and nothing else of it.
BY_EVALUATORS = frozenset({EventKind.TRIAL_STARTED, EventKind.TRIAL_RETRIED})
HEAD = tuple((name, name) for name in ("last_seq", "head_sha256"))
_SITE_LOCK = 7_305_110  # one writer of the site's chain at a time: pg_advisory_xact_lock

EVENTS_AT_ONCE = 2_000


class Imported(RuntimeError):
    """The campaign came from a bundle: its record is closed."""


def append_event(
    campaign: Campaign,
    kind: EventKind,
    actor: str,
    payload: Mapping[str, object],
    trial: Trial | None = None,
    at: datetime | None = None,
) -> Event:
    """Add the next event of a locked campaign, by default of now, and save what has changed of it.

    Must run inside the caller's transaction.

    Raises Imported for a campaign that came from a bundle.
    """
    event = _next_event(campaign, kind, actor, payload, trial, at)
    moving = HEAD if kind in BY_EVALUATORS else _moved(campaign)
    counters = rows.values(campaign, [name for name, _ in moving])
    [(event.pk, site)] = statements.rows(_append(moving), [*counters, campaign.pk, *rows.values(event)])
    rows.written(event)
    vars(campaign).setdefault("as_written", {}).update((kept, getattr(campaign, kept)) for _, kept in moving)
    after_commit(live.publish_event, campaign, event, trial)
    after_commit(_note, campaign.chain, event.seq, event.sha256, site)
    return event


@cache
def _append(moving: Sequence[tuple[str, str]]) -> str:
    """The event and the counters of its campaign in one statement, which tells the site's name as well."""
    columns = rows.assignments(Campaign, tuple(name for name, _ in moving))
    return (
        f"WITH moved AS (UPDATE trials_campaign SET {columns} WHERE id = %s) "  # noqa: S608
        f"{rows.insertion(Event)} RETURNING id, (SELECT sha256 FROM trials_siteevent WHERE seq = 1)"
    )


def _moved(campaign: Campaign) -> tuple[tuple[str, str], ...]:
    """Fields that are not as they are in the database; all that may move where the row was not read under its lock."""
    before = vars(campaign).get("as_written", {})
    return tuple(one for one in _moving() if one[1] not in before or before[one[1]] != getattr(campaign, one[1]))


@cache
def _moving() -> tuple[tuple[str, str], ...]:
    """Names, and the attributes that hold them."""
    return tuple((one.name, one.attname) for one in Campaign._meta.concrete_fields if one.name not in FIXED)


def append_imported(
    campaign: Campaign, kind: EventKind, actor: str, entries: Iterable[tuple[Mapping[str, object], Trial]]
) -> None:
    """Events of a campaign that nobody watches yet, many at a time: the caller saves its counters afterwards."""
    events = (_next_event(campaign, kind, actor, payload, trial) for payload, trial in entries)
    while batch := list(islice(events, EVENTS_AT_ONCE)):
        Event.objects.bulk_create(batch)
    after_commit(_note, campaign.chain, campaign.last_seq, campaign.head_sha256)


def _next_event(
    campaign: Campaign,
    kind: EventKind,
    actor: str,
    payload: Mapping[str, object],
    trial: Trial | None,
    at: datetime | None = None,
) -> Event:
    """The next link of the chain, not saved yet; the campaign's counters have moved on to it. Raises Imported."""
    if campaign.bundle is not None:
        raise Imported(f"campaign {campaign.slug} was imported: its record is closed")
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("an event needs the transaction that changes the row")
    return Event(campaign=campaign, trial=trial, **next_link(campaign, kind, actor, payload, trial, at))


def next_link(
    campaign: Campaign,
    kind: EventKind,
    actor: str,
    payload: Mapping[str, object],
    trial: Trial | None,
    at: datetime | None = None,
) -> dict[str, Any]:
    """Fields of the next link of the chain, campaign and trial left out; the campaign's counters move on to it."""
    fields = _link(campaign.last_seq, campaign.head_sha256, kind, actor, payload, trial, at)
    campaign.last_seq, campaign.head_sha256 = fields["seq"], fields["sha256"]
    return fields


def append_site_event(kind: SiteEventKind, actor: str, payload: Mapping[str, object]) -> SiteEvent:
    """Add the next event of the site's own chain; its first event, ``founded``, is written before any other."""
    with transaction.atomic():
        with transaction.get_connection().cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_SITE_LOCK])
        last = SiteEvent.objects.order_by("-seq").first()
        if last is None and kind is not SiteEventKind.FOUNDED:
            last = append_site_event(SiteEventKind.FOUNDED, "site", {})
        seq, head = (0, "") if last is None else (last.seq, last.sha256)
        event = SiteEvent(**_link(seq, head, kind, actor, payload, None, None))
        event.save(force_insert=True)
        after_commit(_note, witness.SITE, event.seq, event.sha256)
    return event


def site_id() -> str:
    """What tells this record from every other: the hash of the first event of the site's chain."""
    found = SiteEvent.objects.filter(seq=1).values_list("sha256", flat=True).first()
    if found is None:
        append_site_event(SiteEventKind.FOUNDED, "site", {})
        found = SiteEvent.objects.values_list("sha256", flat=True).get(seq=1)
    return str(found)


def _note(chain: str, seq: int, sha256: str, site: str | None = None) -> None:
    witness.note(site or site_id(), chain, seq, sha256)


def _link(
    last_seq: int,
    head: str,
    kind: EventKind | SiteEventKind,
    actor: str,
    payload: Mapping[str, object],
    trial: Trial | None,
    at: datetime | None,
) -> dict[str, Any]:
    body, salt, seq = dumps(payload), secrets.token_hex(SALT_BYTES), last_seq + 1
    at = clock.now() if at is None else at
    number = None if trial is None else trial.number
    sha256 = chain_hash(seq=seq, at=at, kind=kind, actor=actor, trial=number, body=body, previous=head, salt=salt)
    return {
        "seq": seq,
        "at": at,
        "kind": kind,
        "actor": actor,
        "body": body,
        "salt": salt,
        "previous_sha256": head,
        "sha256": sha256,
    }


def note_head(campaign: Campaign, seq: int, sha256: str) -> None:
    """After the commit: the newest event of the campaign's chain is noted outside of the database."""
    after_commit(_note, campaign.chain, seq, sha256)
