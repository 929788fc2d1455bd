"""What must be true of a campaign's sessions: on record without gaps, and while they run in somebody's hands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from specialists import sessions
from specialists.models import Session
from specialists.vocab import SessionState
from trials import clock
from trials.invariants import Violation
from trials.models import Campaign, Event
from trials.vocab import LIVE_CAMPAIGN_STATES, EventKind

AT_ONCE = 2_000
NOTICED = timedelta(seconds=10)


def check_sessions(campaign: Campaign) -> Iterator[Violation]:
    """Numbers are dense; each began and ended once; what runs has a live lease; what was submitted has its trial."""
    if campaign.is_released_run or campaign.bundle is not None:
        return
    now, slug, expected = clock.now(), campaign.slug, 0
    settled = campaign.state in LIVE_CAMPAIGN_STATES and now - clock.serving_since() > sessions.lease() + NOTICED
    longest = max(sessions.lease(), sessions.wait())
    states: Counter[bool] = Counter()
    rows = Session.objects.filter(campaign=campaign).order_by("number")
    for number, state, lease, trial in rows.values_list("number", "state", "lease_expires_at", "trial_id").iterator(
        chunk_size=AT_ONCE
    ):
        if number != expected:
            yield Violation(slug, "sessions", f"session {expected} is missing, {number} follows")
        expected = number + 1
        running = state == SessionState.RUNNING
        states[running] += 1
        if (state == SessionState.SUBMITTED) != (trial is not None):
            yield Violation(
                slug, "sessions", f"session {number} is {state} and has {'no' if trial is None else 'a'} trial"
            )
        if running and lease > now + longest:
            yield Violation(slug, "sessions", f"session {number} is held for {(lease - now).total_seconds():.1f} s")
        if running and settled and now - lease > NOTICED:
            what = f"session {number} runs under a lease that ended {(now - lease).total_seconds():.1f} s ago"
            yield Violation(slug, "sessions", what)
    events = Event.objects.filter(campaign=campaign)
    for kind, rows_there in (
        (EventKind.SESSION_STARTED, states.total()),
        (EventKind.SESSION_ENDED, states[False]),
    ):
        told = events.filter(kind=kind).count()
        if told != rows_there:
            yield Violation(slug, "sessions", f"{told} events {kind}, expected {rows_there}")
