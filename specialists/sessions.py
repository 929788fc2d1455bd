"""Sessions as rows: claimed by one worker, renewed, closed."""

from __future__ import annotations

import os
import secrets
import socket
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from specialists.models import Session
from specialists.vocab import SessionState
from trials.models import Campaign, Trial
from trials.services.blobs import put_blob
from trials.services.events import append_event
from trials.vocab import LIVE_CAMPAIGN_STATES, EventKind

#: How long a message may wait in its queue before it is sent again, and how long a silent worker is believed.
WAIT, LEASE = timedelta(seconds=120), timedelta(seconds=60)
NOTE_LENGTH = 4000


def claim(session_id: int) -> Session | None:
    """Take a session under a lease; None when another delivery has it or it is over."""
    worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    taken = Session.objects.filter(pk=session_id, state=SessionState.RUNNING, worker="").update(
        worker=worker, lease_expires_at=timezone.now() + LEASE
    )
    return Session.objects.select_related("campaign").get(pk=session_id) if taken else None


def renew(session: Session) -> bool:
    """Hold the session for another LEASE; False when it is over, or its campaign is."""
    held = Session.objects.filter(
        pk=session.pk, worker=session.worker, state=SessionState.RUNNING, campaign__state__in=LIVE_CAMPAIGN_STATES
    )
    return bool(held.update(lease_expires_at=timezone.now() + LEASE))


def holds(session: Session) -> bool:
    """Whether this claim of the session is still the one that counts."""
    return Session.objects.filter(pk=session.pk, worker=session.worker, state=SessionState.RUNNING).exists()


def release(session_id: int, worker: str) -> bool:
    """A worker fell silent: the session may be claimed again. False when it spoke or ended meanwhile."""
    now = timezone.now()
    silent = Session.objects.filter(pk=session_id, worker=worker, state=SessionState.RUNNING, lease_expires_at__lt=now)
    return bool(silent.update(worker="", lease_expires_at=now + WAIT))


@transaction.atomic
def close(
    session: Session, state: SessionState, *, note: str, view: str, trial: Trial | None = None, transcript: str = ""
) -> bool:
    """End a session with an event; False when it had ended before. view: the exact lineage text; transcript: JSON."""
    campaign: Campaign = Campaign.objects.locked(session.campaign_id)
    running = Session.objects.filter(pk=session.pk, worker=session.worker, state=SessionState.RUNNING)
    note = note[:NOTE_LENGTH].replace("\0", " ")
    stored = put_blob(transcript.encode()) if transcript else None
    shown = put_blob(view.encode())
    changed = running.update(
        state=state,
        note=note,
        trial=trial,
        ended_at=timezone.now(),
        lineage_view_id=shown,
        transcript_id=stored,
    )
    if changed:
        payload = {
            "session": session.number,
            "role": session.role,
            "state": state,
            "note": note,
            "lineage_view": shown,
        }
        if stored is not None:
            payload["transcript"] = stored
        append_event(campaign, EventKind.SESSION_ENDED, f"{campaign.proposer}:{session.role}", payload, trial)
    return bool(changed)
