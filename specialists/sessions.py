"""Sessions as rows: claimed by one worker, renewed, closed. What they pay with is in ``accounts``."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from specialists import accounts
from specialists.models import Session
from specialists.redaction import redact, storable
from specialists.vocab import REPEATABLE, Fault, SessionState
from trials import clock
from trials.canonical import dumps
from trials.models import Campaign, Trial
from trials.services import blobs, campaigns
from trials.services.blobs import put_blob
from trials.services.events import append_event
from trials.services.rows import insertion, values, written
from trials.statements import change, columns, instances, one_of, rows
from trials.vocab import LIVE_CAMPAIGN_STATES, CampaignState, EventKind

NOTE_LENGTH = 4000
#: Sessions in a row that failed, for reasons of the provider or for any, before the campaign is paused.
PROVIDER_FAILURES, FAILURES = 3, 10

_MINE = f"id = %(session)s AND worker = %(worker)s AND state = '{SessionState.RUNNING}'"
# Sessions of other campaigns that wait for the same workers.
_OTHERS = f"""
SELECT FROM specialists_session AS other JOIN trials_campaign AS its ON its.id = other.campaign_id
  JOIN trials_campaign AS own ON own.id = specialists_session.campaign_id
 WHERE other.state = '{SessionState.RUNNING}' AND other.worker = '' AND its.id <> own.id
   AND (its.proposer IN {one_of(REPEATABLE)}) = (own.proposer IN {one_of(REPEATABLE)})
"""
_START = f"""
{insertion(Session)}
RETURNING id, (SELECT count(*) FROM specialists_account WHERE campaign_id = %s AND role IN ('', %s))
"""  # noqa: S608 - names of columns
_CLAIM = f"""
WITH taken AS (
    UPDATE specialists_session SET worker = %(worker)s, lease_expires_at = clock_timestamp() + %(lease)s
     WHERE id = %(session)s AND worker = '' AND state = '{SessionState.RUNNING}'
       AND NOT EXISTS (SELECT FROM trials_maintenance) AND (%(before_others)s OR NOT EXISTS ({_OTHERS}))
    RETURNING *)
SELECT {columns(Session, "taken")}, {columns(Campaign)}
  FROM taken JOIN trials_campaign ON trials_campaign.id = taken.campaign_id
"""  # noqa: S608 - words of this program
_RENEW = f"""
UPDATE specialists_session SET lease_expires_at = clock_timestamp() + %(lease)s WHERE {_MINE}
   AND campaign_id IN (SELECT id FROM trials_campaign WHERE state IN {one_of(LIVE_CAMPAIGN_STATES)})
"""  # noqa: S608 - words of this program
_HOLDS = f"SELECT 1 FROM specialists_session WHERE {_MINE} FOR UPDATE"  # noqa: S608 - words of this program
_END = f"""
WITH {blobs.storing("true")}, forgiven AS ({accounts.FORGIVE} AND %(well)s)
UPDATE specialists_session
   SET state = %(to)s, note = %(note)s, fault = %(fault)s, trial_id = %(trial)s, ended_at = clock_timestamp(),
       lineage_view_id = %(view)s, transcript_id = %(blob)s, reserved_tokens = 0, reserved_usd = 0
 WHERE {_MINE}
RETURNING {blobs.BACK}
"""  # noqa: S608 - words of this program


def wait() -> timedelta:
    """How long a message may wait in its queue before it is sent again."""
    return timedelta(seconds=2 * settings.LOST_MESSAGE_SECONDS)


def lease() -> timedelta:
    """How long a silent worker is believed."""
    return timedelta(seconds=3 * settings.LEASE_SECONDS)


def expired() -> list[Session]:
    """Sessions whose message or worker was not heard of; after a start of the database all have time to speak up."""
    now = clock.now()
    if clock.serving_since() + lease() >= now:
        return []
    late = Session.objects.filter(state=SessionState.RUNNING, lease_expires_at__lt=now)
    return list(late.select_related("campaign"))


def start(session: Session) -> None:
    """Write a new session of a locked campaign; what it pays with is there from then on."""
    [(session.pk, accounts_there)] = rows(_START, [*values(session), session.campaign_id, session.role])
    written(session)
    if session.campaign.agent and accounts_there < len(("campaign", "role")):
        accounts.open_accounts(session.campaign, session.role)


def claim(session_id: int, *, before_others: bool = True) -> Session | None:
    """Take a session under a lease; None when another delivery has it, it is over, or nothing is begun now.

    before_others: also while other campaigns wait for the same workers; ``specialists.turns`` says whose turn it is.
    """
    worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    asked = {"session": session_id, "worker": worker, "lease": lease(), "before_others": before_others}
    taken = rows(_CLAIM, asked)
    if not taken:
        return None
    session: Session
    session, session.campaign = instances(taken[0], Session, Campaign)
    return session


def _mine(session: Session) -> dict[str, Any]:
    return {"session": session.pk, "worker": session.worker}


def renew(session: Session) -> bool:
    """Hold the session for another lease; False when it is over, or its campaign is."""
    return bool(change(_RENEW, _mine(session) | {"lease": lease()}))


def holds(session: Session) -> bool:
    """Whether this claim of the session is still the one that counts; in a transaction it stays so until the end."""
    return bool(rows(_HOLDS, _mine(session)))


def release(session_id: int, worker: str) -> bool:
    """A worker fell silent: the session may be claimed again. False when it spoke or ended meanwhile."""
    now = clock.now()
    silent = Session.objects.filter(pk=session_id, worker=worker, state=SessionState.RUNNING, lease_expires_at__lt=now)
    return bool(silent.update(worker="", lease_expires_at=now + wait()))


@transaction.atomic
def close(
    session: Session,
    state: SessionState,
    *,
    note: str,
    fault: Fault | str = "",
    view: str,
    transcript: str = "",
) -> bool:
    """End a session with an event; False when it had ended before. Trips the breaker where failures pile up.

    view: the exact lineage text; transcript: JSON, with a language model what its conversation ended with.
    """
    campaign: Campaign = Campaign.objects.locked(session.campaign_id)
    if not holds(session):
        return False
    calls = accounts.booked(session) if campaign.agent else []
    _end(campaign, session, state, calls, note=note, fault=fault, shown=put_blob(view.encode()), transcript=transcript)
    return True


def submitted(
    campaign: Campaign, session: Session, trial: Trial, transcript: str, calls: Sequence[accounts.Booked]
) -> None:
    """``close`` for a session whose trial has just been written: the caller has locked the campaign and holds it."""
    assert trial.lineage_view_id is not None, "written with it"
    shown, state = trial.lineage_view_id, SessionState.SUBMITTED
    _end(campaign, session, state, calls, shown=shown, trial=trial, transcript=transcript)


def _end(
    campaign: Campaign,
    session: Session,
    state: SessionState,
    calls: Sequence[accounts.Booked],
    *,
    shown: str,
    note: str = "",
    fault: Fault | str = "",
    trial: Trial | None = None,
    transcript: str,
) -> None:
    """The caller has locked the campaign and holds the session."""
    note = storable(redact(note))[:NOTE_LENGTH]
    kept, used = _transcribed(session, calls, transcript) if campaign.agent else (transcript, {})
    stored = blobs.part(kept.encode() if kept else None)
    failed = bool(campaign.agent and fault != Fault.CAMPAIGN and state == SessionState.FAILED and fault)
    well = bool(campaign.agent and fault != Fault.CAMPAIGN and not failed)
    ended: dict[str, Any] = {"to": state, "note": note, "fault": fault, "view": shown, "well": well}
    ended |= {"trial": None if trial is None else trial.pk, "campaign": campaign.pk}
    rows(_END, _mine(session) | ended | stored)
    payload: dict[str, Any] = {
        "session": session.number,
        "role": session.role,
        "state": state,
        "note": note,
        "lineage_view": shown,
    }
    payload |= ({"fault": fault} if campaign.agent else {}) | ({"transcript": stored["blob"]} if kept else {}) | used
    actor = f"{campaign.proposer}:{session.role}"
    append_event(campaign, EventKind.SESSION_ENDED, actor, payload, trial, campaign.held_since)
    if failed:
        _count(campaign, fault, note)


def _transcribed(session: Session, calls: Sequence[accounts.Booked], tail: str) -> tuple[str, dict[str, Any]]:
    """The manifest of a session's requests, and what the event says of them."""
    manifest = {
        "session": session.number,
        "role": session.role,
        "calls": [call.as_json() for call in calls],
        "tail": json.loads(redact(tail)) if tail else [],
    }
    return dumps(manifest), {"usage": accounts.totals(calls)}


def paid(calls: Sequence[accounts.Booked]) -> dict[str, float]:
    """What was paid for requests to language models, as ``usd``; nothing where that is not known."""
    cost = accounts.totals(calls)["cost"]
    return {} if cost is None else {"usd": float(cost)}


def _count(campaign: Campaign, fault: Fault | str, note: str) -> None:
    """Several failures in a row pause the campaign loudly instead of burning its money."""
    account = accounts.count_failure(campaign, fault)
    if account.provider_failures >= PROVIDER_FAILURES:
        why = f"{account.provider_failures} sessions in a row failed at the model's provider: {note}"
    elif account.failures >= FAILURES:
        why = f"{account.failures} sessions in a row failed: {note}"
    else:
        return
    if campaign.state == CampaignState.RUNNING:
        campaigns.change_state(campaign.pk, CampaignState.PAUSED, actor="breaker", reason=" ".join(why.split()))
