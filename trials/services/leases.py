"""What an evaluator worker may do: claim, heartbeat, post a measurement, hand an attempt back. Nothing else.

Every function is a conditional update on (evaluation, attempt): a late or repeated message changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from trials import clock, live, statements
from trials.canonical import dumps, sha256_bytes
from trials.formatting import waiting
from trials.models import Campaign, Evaluation, Trial
from trials.services import blobs, rows, shares
from trials.services.events import append_event
from trials.vocab import LIVE_CAMPAIGN_STATES, EvaluationState, EventKind, Label, Purpose, TrialState

MAX_ATTEMPTS = 3
REASON_LENGTH = 300
AGAIN, PUT_OFF = "queued again", "put off"
_CLAIM = f"""
WITH taken AS (
    UPDATE trials_evaluation
       SET state = '{EvaluationState.RUNNING}', attempt = attempt + 1, worker = %(worker)s, claimed_at = %(now)s,
           lease_expires_at = %(until)s, phase = 'claimed', progress = 0, fault = ''
     WHERE id = %(id)s AND state = '{EvaluationState.QUEUED}' AND (%(live)s OR purpose = '{Purpose.REMEASURE}')
    RETURNING *
), started AS (
    UPDATE trials_trial SET state = '{TrialState.RUNNING}', started_at = %(now)s FROM taken
     WHERE trials_trial.id = taken.trial_id AND taken.purpose = '{Purpose.TRIAL}'
)
SELECT {statements.columns(Evaluation, "taken")}, {statements.columns(Trial, "trial")},
       {statements.columns(Trial, "parent")}
  FROM taken JOIN trials_trial AS trial ON trial.id = taken.trial_id
  LEFT JOIN trials_trial AS parent ON parent.id = trial.parent_id
"""  # noqa: S608 - words of this program
# Whoever refers to the campaign's row has to wait for its lock: first of all, before anything else is locked.
_POST = f"""
WITH held AS MATERIALIZED (
    SELECT id FROM trials_campaign
     WHERE id = (SELECT campaign_id FROM trials_evaluation WHERE id = %(id)s) FOR KEY SHARE
), clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now FROM held
), measured AS (
    UPDATE trials_evaluation
       SET state = '{EvaluationState.MEASURED}', measured_at = clock.now, lease_expires_at = NULL, phase = 'measured',
           progress = 1
      FROM clock WHERE id = %(id)s AND attempt = %(attempt)s AND state = '{EvaluationState.RUNNING}'
    RETURNING trials_evaluation.*
), {blobs.storing("EXISTS (SELECT FROM measured)")}, booked AS ({shares.BOOK_MEASURED})
INSERT INTO trials_measurement (evaluation_id, campaign_id, trial_id, purpose, split, seed, status, score, worker,
                                created_at, body, sha256, log_id)
SELECT id, campaign_id, trial_id, purpose, split, seed, %(status)s, %(score)s, worker, measured_at, %(body)s,
       %(sha256)s, %(blob)s FROM measured
RETURNING id, {blobs.BACK}
"""  # noqa: S608 - words of this program
_NEVER = datetime(2000, 1, 1, tzinfo=UTC)  # a work order that is queued again is sent at the next tick


def lease() -> timedelta:
    """How long a worker that says nothing keeps what it has claimed."""
    return timedelta(seconds=settings.LEASE_SECONDS)


def expired() -> list[Evaluation]:
    """Orders whose worker has fallen silent; after a start of the database everyone has a lease's time to speak up."""
    now = clock.now()
    return list(Evaluation.objects.expired(now)) if clock.serving_since() + lease() < now else []


@transaction.atomic
def claim_evaluation(evaluation_id: int, worker: str, chance: shares.Chance | None = None) -> Evaluation | None:
    """Take a queued work order under a lease; None when somebody else has it or it was cancelled.

    chance: as read from ``trials.services.shares``; None as well when it may be another campaign's turn by now.
    """
    campaign = rows.campaign_of(evaluation_id)
    if campaign is None or campaign.bundle is not None:
        return None
    now = campaign.held_since
    values = {"id": evaluation_id, "worker": worker, "now": now, "until": now + lease()}
    taken = statements.rows(_CLAIM, values | {"live": campaign.state in LIVE_CAMPAIGN_STATES})
    if not taken:
        return None
    evaluation: Evaluation
    evaluation, trial, parent = statements.instances(taken[0], Evaluation, Trial, Trial)
    if chance is not None and not shares.take(chance, evaluation.device, devices_of(campaign)):
        transaction.set_rollback(True)
        return None
    trial.campaign, trial.parent = campaign, parent
    evaluation.campaign, evaluation.trial = campaign, trial
    if evaluation.purpose == Purpose.TRIAL:
        trial.state, trial.started_at = TrialState.RUNNING, now  # as the claim has written it
        payload = started_payload(trial, worker, evaluation.attempt, now)
        append_event(campaign, EventKind.TRIAL_STARTED, worker, payload, trial, now)
    return evaluation


def devices_of(campaign: Campaign) -> int:
    """How many devices a measurement of this campaign holds."""
    return int(campaign.spec["profile"].get("devices", 1))


def started_payload(trial: Trial, worker: str, attempt: int, at: datetime) -> dict[str, Any]:
    """What the event of a claimed trial says."""
    return {"number": trial.number, "worker": worker, "attempt": attempt, "started_at": at.isoformat()}


def heartbeat(evaluation_id: int, attempt: int, *, phase: str, progress: float, tail: str = "") -> bool:
    """Renew the lease and show progress; False when the lease is lost or the order was cancelled.

    tail: the end of what a trial has printed so far, for whoever watches now; it is not stored.
    """
    held = Evaluation.objects.filter(pk=evaluation_id, attempt=attempt, state=EvaluationState.RUNNING)
    renewed = held.update(lease_expires_at=clock.now() + lease(), phase=phase, progress=progress)
    if renewed:
        slug, number, purpose = held.values_list("campaign__slug", "trial__number", "purpose").get()
        if purpose == Purpose.TRIAL:
            live.publish_progress(slug, number, phase, progress, tail)
    return bool(renewed)


def post_measurement(evaluation_id: int, attempt: int, body: Mapping[str, Any], log: bytes) -> bool:
    """Store what the evaluator saw; False when the lease was lost before. The judge reads it later."""
    text = dumps(body)
    told = {"status": body["status"], "score": body["score"], "body": text, "sha256": sha256_bytes(text.encode())}
    return bool(statements.rows(_POST, {"id": evaluation_id, "attempt": attempt, **told, **blobs.part(log or None)}))


def _held(evaluation: Evaluation, now: datetime) -> float:
    """Seconds since the order was claimed."""
    return 0.0 if evaluation.claimed_at is None else (now - evaluation.claimed_at).total_seconds()


@transaction.atomic
def give_back(evaluation_id: int, attempt: int, fault: str) -> EvaluationState | None:
    """An attempt failed for reasons of our own: queue it again, or close it as ``harness_abort`` after MAX_ATTEMPTS.

    Returns the new state, None when the attempt no longer holds the lease.
    """
    held = Evaluation.objects.filter(pk=evaluation_id, attempt=attempt, state=EvaluationState.RUNNING)
    evaluation = held.first()
    if evaluation is None:
        return None
    campaign: Campaign = Campaign.objects.locked(evaluation.campaign_id)
    if not held.update(fault=fault[:REASON_LENGTH]):
        return None
    if evaluation.attempt >= MAX_ATTEMPTS:
        body: dict[str, Any] = {
            "status": Label.HARNESS_ABORT,
            "reason": fault[:REASON_LENGTH],
            "score": None,
            "numbers": {},
            "seconds": {},
        }
        post_measurement(evaluation_id, attempt, body, b"")
        return EvaluationState.MEASURED
    now = clock.now()
    shares.book(campaign.pk, evaluation.device, _held(evaluation, now), whole=False)
    held.update(state=EvaluationState.QUEUED, lease_expires_at=None, queued_at=now, phase=AGAIN, sent_at=_NEVER)
    trial = Trial.objects.get(pk=evaluation.trial_id)
    if evaluation.purpose == Purpose.TRIAL:
        trial.state = TrialState.QUEUED
        trial.save(update_fields=["state"])
    payload = {
        "number": trial.number,
        "purpose": evaluation.purpose,
        "attempt": attempt,
        "fault": fault[:REASON_LENGTH],
    }
    append_event(campaign, EventKind.TRIAL_RETRIED, evaluation.worker, payload, trial)
    return EvaluationState.QUEUED


def take_unsent(campaign_id: int, older_than: timedelta) -> list[int]:
    """Work orders whose message may be lost, marked as sent now; the caller sends them again."""
    now = clock.now()
    found = Evaluation.objects.filter(campaign_id=campaign_id).unsent_since(now - older_than)
    return [pk for pk in found.values_list("pk", flat=True) if found.filter(pk=pk).update(sent_at=now)]


def explain_wait(evaluation_id: int, reason: str) -> None:
    """Say on a queued work order why nobody takes it, or with an empty reason that somebody could."""
    reason = reason[:REASON_LENGTH]
    queued = Evaluation.objects.filter(pk=evaluation_id, state=EvaluationState.QUEUED).exclude(fault=reason)
    if queued.update(fault=reason):
        order = Evaluation.objects.select_related("campaign", "trial").get(pk=evaluation_id)
        if order.purpose == Purpose.TRIAL:
            live.publish_progress(order.campaign.slug, order.trial.number, waiting(reason), None)


def put_off(evaluation_id: int, reason: str) -> None:
    """What a queued work order needs is in use by others: it says so, and is sent again at the next tick."""
    explain_wait(evaluation_id, reason)
    Evaluation.objects.filter(pk=evaluation_id, state=EvaluationState.QUEUED).update(sent_at=_NEVER, phase=PUT_OFF)
