"""How much does the start's score move from seed to seed? Rule ``verified`` measures it before the search begins."""

from __future__ import annotations

from typing import Any

from trials import confirm
from trials.confirm import Noise
from trials.models import Campaign, Evaluation, FrontierStep, Measurement, Trial
from trials.services import campaigns, standings
from trials.services.events import append_event
from trials.services.verdicts import JUDGE, Verdict, gate_of
from trials.vocab import (
    VALID,
    CampaignState,
    EvaluationState,
    EventKind,
    KeepRule,
    Label,
    Purpose,
    TrialState,
)


def missing(campaign: Campaign) -> list[int]:
    """Seeds on which the start is still to be measured; empty once the noise is known."""
    if campaign.keep_rule != KeepRule.VERIFIED or campaign.noise_sd is not None:
        return []
    orders = _orders(campaign)
    counting = sum(order.state != EvaluationState.JUDGED or order.outcome["label"] == VALID for order in orders)
    # A seed without a score is replaced by the next one.
    numbers = range(len(orders), len(orders) + confirm.CALIBRATION_SEEDS - 1 - counting)
    return [confirm.fresh_seed(campaign.seed, "calibration", number) for number in numbers]


def _orders(campaign: Campaign) -> list[Evaluation]:
    return list(Evaluation.objects.filter(campaign=campaign, purpose=Purpose.CALIBRATION).order_by("pk"))


def record(campaign: Campaign, evaluation: Evaluation, measurement: Measurement, verdict: Verdict) -> None:
    """One calibration of a locked campaign; the last one gives the noise. A start that fails ends the campaign."""
    payload = {
        "number": 0,
        "seed": evaluation.seed,
        "label": verdict.label,
        "reason": verdict.reason,
        "score": verdict.score,
        "measurement": measurement.sha256,
    }
    append_event(campaign, EventKind.CALIBRATION_MEASURED, JUDGE, payload, measurement.trial)
    standings.trip_breaker(campaign)
    orders = _orders(campaign)
    gated = sum(order.outcome.get("label") == Label.DISQUALIFIED for order in orders)
    if verdict.label in (VALID, Label.HARNESS_ABORT):
        finish_if_done(campaign)
    elif verdict.label != Label.DISQUALIFIED or gated > confirm.MOST_VOID:
        reason = f"the starting recipe is {verdict.label} with seed {evaluation.seed}: {verdict.reason}"
        campaigns.change_state(campaign.pk, CampaignState.FAILED, actor=JUDGE, reason=reason)


def finish_if_done(campaign: Campaign) -> None:
    """Once the start has its score on every seed: the noise, and means in place of the first score."""
    if campaign.keep_rule != KeepRule.VERIFIED or campaign.noise_sd is not None:
        return
    start = Trial.objects.get(campaign=campaign, number=0)
    if start.state != TrialState.FINISHED or start.score is None:
        return
    orders = [order for order in _orders(campaign) if order.outcome.get("label") in (VALID, Label.DISQUALIFIED)]
    scored = [order for order in orders if order.outcome["label"] == VALID]
    if len(scored) < confirm.CALIBRATION_SEEDS - 1:
        return
    gate = gate_of([start.numbers, *(order.outcome["numbers"] for order in orders)])
    if gate is not None and gate.deficit > 0:
        reason = f"the starting recipe is {gate.deficit:.5f} below the gate, in the mean over its seeds"
        campaigns.change_state(campaign.pk, CampaignState.FAILED, actor=JUDGE, reason=reason)
        return
    scores = [start.score, *(order.outcome["score"] for order in scored)]
    noise, mean = Noise.of(scores), confirm.interval(scores).mean
    campaign.noise_sd, campaign.noise_df = noise.sd, noise.df
    campaign.start_score = campaign.best_score = mean
    FrontierStep.objects.filter(campaign=campaign, number=0).update(score=mean)
    measured = Measurement.objects.filter(evaluation__in=scored).order_by("evaluation_id")
    payload: dict[str, Any] = {
        "number": 0,
        "seeds": [start.seed, *(order.seed for order in scored)],
        "scores": scores,
        "mean": mean,
        "noise_sd": noise.sd,
        "noise_df": noise.df,
        "measurements": [
            Measurement.objects.get(trial=start, purpose=Purpose.TRIAL).sha256,
            *measured.values_list("sha256", flat=True),
        ],
    }
    append_event(campaign, EventKind.CAMPAIGN_CALIBRATED, JUDGE, payload, start)
