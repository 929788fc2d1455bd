"""Whoever has no outcome yet is in somebody's hands: work orders, their leases and their measurements."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings

from trials import clock
from trials.canonical import sha256_bytes
from trials.invariants.ledger import AT_ONCE, Told
from trials.invariants.violation import Violation
from trials.models import Campaign, Evaluation, Measurement
from trials.services.leases import PUT_OFF
from trials.vocab import LIVE_CAMPAIGN_STATES, EvaluationState, KeepRule, Purpose, TrialState

NOTICED = timedelta(seconds=10)
"""After this a lease that has run out is taken over, a lost message sent again, a measurement judged."""
#: State of a trial's own order -> states that the trial may be in.
AGREE = {
    EvaluationState.QUEUED: TrialState.QUEUED,
    EvaluationState.RUNNING: TrialState.RUNNING,
    EvaluationState.MEASURED: TrialState.RUNNING,
    EvaluationState.JUDGED: TrialState.FINISHED,
    EvaluationState.CANCELLED: TrialState.CANCELLED,
}
FIELDS = (
    "pk", "trial__number", "trial__state", "purpose", "state", "attempt", "phase", "queued_at", "sent_at",
    "measured_at", "lease_expires_at", "measurement__pk",
)  # fmt: skip


def check_orders(campaign: Campaign, told: Told) -> Iterator[Violation]:
    """Each trial has one order of its own, in step with it; what runs has a live lease; what is measured is there."""
    orders = dict.fromkeys(told.submitted, 0)
    late = _Late(campaign)
    rows = Evaluation.objects.filter(campaign=campaign).order_by("pk").values_list(*FIELDS)
    for pk, number, trial_state, purpose, state, attempt, phase, *moments, measurement in rows.iterator(
        chunk_size=AT_ONCE
    ):
        name = f"order {pk} ({purpose} of trial {number}, attempt {attempt})"
        if purpose == Purpose.TRIAL:
            orders[number] = orders.get(number, 0) + 1
            if trial_state != AGREE[EvaluationState(state)]:
                yield Violation(campaign.slug, "outcomes", f"{name} is {state}, the trial is {trial_state}")
        wanted = state in (EvaluationState.MEASURED, EvaluationState.JUDGED)
        if state != EvaluationState.CANCELLED and wanted != (measurement is not None):
            there = "no" if measurement is None else "a"
            yield Violation(campaign.slug, "measurements", f"{name} is {state} and has {there} measurement")
        for what in late.why(state, phase, *moments):
            yield Violation(campaign.slug, "leases", f"{name} {what}")
    for number, count in orders.items():
        if count != 1:
            yield Violation(campaign.slug, "outcomes", f"trial {number} has {count} orders of its own, expected 1")
    for (number, attempt), times in (told.claims | told.returns).items():
        if times != 1:
            what = f"attempt {attempt} at trial {number} was claimed or taken over {times} times"
            yield Violation(campaign.slug, "leases", what)
    yield from _bodies(campaign)


class _Late:
    """Is anybody waited for too long? By the database's clock; after its start everyone is given time to speak up."""

    def __init__(self, campaign: Campaign) -> None:
        self._now = clock.now()
        self._lease = timedelta(seconds=settings.LEASE_SECONDS)
        self._message = timedelta(seconds=settings.LOST_MESSAGE_SECONDS)
        up = self._now - clock.serving_since()
        self._live = campaign.state in LIVE_CAMPAIGN_STATES
        self._settled = self._live and up > self._lease + NOTICED
        noisy = campaign.keep_rule == KeepRule.VERIFIED and campaign.noise_sd is None
        self._judged_at_once = not (campaign.reproducible or noisy)

    def why(
        self,
        state: str,
        phase: str,
        queued: datetime,
        sent: datetime,
        measured: datetime | None,
        lease: datetime | None,
    ) -> Iterator[str]:
        """What is wrong with one order, in words."""
        if state == EvaluationState.RUNNING and lease is None:
            yield "runs without a lease"
        if state != EvaluationState.RUNNING and lease is not None:
            yield f"is {state} and holds a lease"
        if lease is not None and lease > self._now + self._lease:
            yield f"holds a lease for {(lease - self._now).total_seconds():.1f} s"
        if not self._settled:
            return
        for what, since, within in (
            ("runs under a lease that ended", lease, timedelta(0)),
            ("is queued, and its message was sent", self._unsent(state, phase, queued, sent), self._message),
            ("waits to be judged, measured", self._unjudged(state, measured), timedelta(0)),
        ):
            if since is not None and self._now - since > within + NOTICED:
                yield f"{what} {(self._now - since).total_seconds():.1f} s ago"

    def _unsent(self, state: str, phase: str, queued: datetime, sent: datetime) -> datetime | None:
        """One that was put off is sent again at every tick: since when it lacks its message is not told."""
        return max(queued, sent) if state == EvaluationState.QUEUED and phase != PUT_OFF else None

    def _unjudged(self, state: str, measured: datetime | None) -> datetime | None:
        return measured if self._judged_at_once and state == EvaluationState.MEASURED else None


def _bodies(campaign: Campaign) -> Iterator[Violation]:
    rows = Measurement.objects.filter(campaign=campaign).order_by("pk")
    for pk, number, body, sha256 in rows.values_list("pk", "trial__number", "body", "sha256").iterator(
        chunk_size=AT_ONCE
    ):
        if sha256_bytes(body.encode()) != sha256:
            what = f"measurement {pk} of trial {number} does not have the hash that it is filed under"
            yield Violation(campaign.slug, "measurements", what)
