"""A trial measured again because somebody asks: fresh seeds, measurements that are added, and nothing that changes.

Label, score, standing and noise stay as they are: those follow from what the rules of the campaign asked for. Orders
are beside the search: they hold no slot of it and outlive its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from trials import confirm
from trials.commits import after_commit
from trials.models import Campaign, Evaluation, Measurement, Trial
from trials.services import standings
from trials.services.campaigns import WrongState
from trials.services.events import append_event
from trials.services.submissions import Enqueue, order_evaluation
from trials.services.verdicts import JUDGE, Verdict
from trials.vocab import EvaluationState, EventKind, Purpose, TrialState

MOST_SEEDS = 10
SPLIT = "validation"


@transaction.atomic
def order(campaign_id: int, number: int, seeds: int, *, actor: str, enqueue: Enqueue) -> list[Evaluation]:
    """Order ``seeds`` (1 to MOST_SEEDS) measurements of a finished trial, each with a seed that it never had.

    Raises WrongState where it cannot be measured, or is being measured again already; ValueError for a wrong number.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"seeds is {seeds}, expected 1 to {MOST_SEEDS}")
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    trial = Trial.objects.of(campaign.pk).filter(number=number).first()
    if trial is None:
        raise WrongState(f"campaign {campaign.slug} has no trial {number}")
    trial.campaign = campaign
    if reason := why_not(trial, measuring=bool(open_orders(trial))):
        raise WrongState(reason)
    orders = [order_evaluation(trial, Purpose.REMEASURE, SPLIT, seed) for seed in _fresh_seeds(trial, seeds)]
    payload = {"number": number, "seeds": [each.seed for each in orders]}
    append_event(campaign, EventKind.REMEASURE_ORDERED, actor, payload, trial)
    for each in orders:
        after_commit(enqueue, each.pk)
    return orders


def why_not(trial: Trial, *, measuring: bool) -> str:
    """Why a trial cannot be measured again now; empty where it can. measuring: whether some of it is under way."""
    campaign = trial.campaign
    if campaign.bundle is not None or campaign.is_released_run:
        return f"campaign {campaign.slug} was imported: its record is closed"
    if trial.source_id is None or trial.state != TrialState.FINISHED:
        return f"trial {trial.number} is {trial.state}, expected a finished one"
    if measuring:
        return f"trial {trial.number} is being measured again already"
    return ""


def open_orders(trial: Trial) -> list[Evaluation]:
    """Orders of this kind that are not judged yet, in the order in which they were given."""
    return list(Evaluation.objects.unjudged().filter(trial=trial, purpose=Purpose.REMEASURE).order_by("pk"))


def _fresh_seeds(trial: Trial, wanted: int) -> Sequence[int]:
    """Seeds with which this trial was never measured, whatever for."""
    had = set(Evaluation.objects.filter(trial=trial).values_list("seed", flat=True))
    found: list[int] = []
    index = 0
    while len(found) < wanted:
        seed = confirm.fresh_seed(trial.campaign.seed, "remeasure", trial.number, index)
        if seed not in had:
            found.append(seed)
            had.add(seed)
        index += 1
    return found


@transaction.atomic
def cancel(campaign_id: int, number: int, *, actor: str) -> int:
    """Give up what is not measured yet; returns how many orders that were. What was measured stays.

    Raises WrongState where nothing waits.
    """
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    trial = Trial.objects.of(campaign.pk).filter(number=number).first()
    waiting = Evaluation.objects.in_flight().filter(trial=trial, purpose=Purpose.REMEASURE)
    seeds = list(waiting.order_by("pk").values_list("seed", flat=True)) if trial is not None else []
    if trial is None or not seeds:
        raise WrongState(f"trial {number} of {campaign.slug} is not being measured again")
    waiting.update(state=EvaluationState.CANCELLED, lease_expires_at=None)
    append_event(campaign, EventKind.REMEASURE_CANCELLED, actor, {"number": number, "seeds": seeds}, trial)
    return len(seeds)


@transaction.atomic
def record(evaluation_id: int, verdict: Verdict) -> bool:
    """Close one order with its judgement and an event; False when it was closed or cancelled before."""
    found = Evaluation.objects.filter(pk=evaluation_id).values_list("campaign_id", flat=True).first()
    if found is None:
        return False
    campaign: Campaign = Campaign.objects.locked(found)
    outcome = {"label": verdict.label, "reason": verdict.reason, "score": verdict.score,
               "numbers": dict(verdict.numbers)}  # fmt: skip
    changed = Evaluation.objects.filter(pk=evaluation_id, state=EvaluationState.MEASURED).update(
        state=EvaluationState.JUDGED, outcome=outcome
    )
    if not changed:
        return False
    measured = Measurement.objects.select_related("trial", "trial__parent", "evaluation")
    measurement = measured.get(evaluation_id=evaluation_id)
    standings.book_repeat(campaign, measurement.evaluation)
    payload = {
        "number": measurement.trial.number,
        "seed": measurement.seed,
        "label": verdict.label,
        "reason": verdict.reason,
        "score": verdict.score,
        "measurement": measurement.sha256,
    }
    append_event(campaign, EventKind.TRIAL_REMEASURED, JUDGE, payload, measurement.trial)
    return True
