"""Measurements beside the search: calibrations of the start and confirmations, ordered slot by slot and recorded."""

from __future__ import annotations

from django.db import transaction

from trials.commits import after_commit
from trials.models import Campaign, Evaluation, Measurement, Trial
from trials.services import calibrations, confirmations, standings
from trials.services.submissions import Enqueue, order_evaluation
from trials.services.verdicts import Verdict
from trials.vocab import CampaignState, EvaluationState, Purpose


def wanted(campaign: Campaign) -> int:
    """How many measurements could be ordered now."""
    return len(calibrations.missing(campaign)) + len(confirmations.next_orders(campaign))


@transaction.atomic
def order(campaign_id: int, most: int, *, enqueue: Enqueue) -> int:
    """Order at most so many of what is wanted; returns how many were. Nothing is ordered unless the campaign runs."""
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    if campaign.state != CampaignState.RUNNING:
        return 0
    start = Trial.objects.get(campaign=campaign, number=0)
    orders = [
        order_evaluation(start, Purpose.CALIBRATION, "validation", seed)
        for seed in calibrations.missing(campaign)[:most]
    ]
    for confirmation, trial, seed in confirmations.next_orders(campaign)[: most - len(orders)]:
        orders.append(order_evaluation(trial, Purpose.CONFIRMATION, "validation", seed, confirmation))
    for ordered in orders:
        after_commit(enqueue, ordered.pk)
    return len(orders)


@transaction.atomic
def record(evaluation_id: int, verdict: Verdict) -> bool:
    """Judge a calibration or a confirmation; False when it was judged or cancelled before."""
    found = Evaluation.objects.filter(pk=evaluation_id).values_list("campaign_id", flat=True).first()
    if found is None:
        return False
    campaign: Campaign = Campaign.objects.locked(found)
    outcome = {
        "label": verdict.label,
        "reason": verdict.reason,
        "score": verdict.score,
        "numbers": dict(verdict.numbers),
    }
    changed = Evaluation.objects.filter(pk=evaluation_id, state=EvaluationState.MEASURED).update(
        state=EvaluationState.JUDGED, outcome=outcome
    )
    if not changed:
        return False
    measurement = Measurement.objects.select_related("trial", "trial__parent", "evaluation").get(
        evaluation_id=evaluation_id
    )
    evaluation = measurement.evaluation
    standings.book_repeat(campaign, evaluation)
    standings.note_abort(campaign, verdict.label)
    room = calibrations if evaluation.purpose == Purpose.CALIBRATION else confirmations
    room.record(campaign, evaluation, measurement, verdict)
    return True
