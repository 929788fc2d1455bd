"""What counts: rollups, frontier and counters of a locked campaign, changed where a label or a standing changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import F

from trials.models import Campaign, Evaluation, FrontierStep, Rollup, Trial
from trials.services import tallies
from trials.services.events import append_event
from trials.statements import Part, together
from trials.vocab import CampaignState, EventKind, Label

BREAKER_ABORTS = 3
SECONDS = ("queue_seconds", "run_seconds", "eval_seconds", "log_seconds")
_COUNT = f"""
INSERT INTO trials_rollup AS cell (campaign_id, hour, role, label, trials, {", ".join(SECONDS)})
VALUES ({", ".join(["%s"] * (5 + len(SECONDS)))})
ON CONFLICT (campaign_id, hour, role, label) DO UPDATE SET trials = cell.trials + EXCLUDED.trials,
    {", ".join(f"{name} = cell.{name} + EXCLUDED.{name}" for name in SECONDS)}
"""  # noqa: S608 - names of columns


def counting(campaign: Campaign, trial: Trial, label: Label) -> Part:
    """Adds a finished trial to its cell of the rollups."""
    return _COUNT, [*_cell(campaign, trial, label).values(), 1, *_seconds(trial).values()]


def _discount(campaign: Campaign, trial: Trial, label: Label) -> None:
    """Take a trial out again; an empty cell would show a label that nobody has."""
    cell = _cell(campaign, trial, label)
    sums = {name: F(name) - value for name, value in {"trials": 1, **_seconds(trial)}.items()}
    Rollup.objects.filter(**cell).update(**sums)
    Rollup.objects.filter(**cell, trials=0).delete()


def _cell(campaign: Campaign, trial: Trial, label: Label) -> dict[str, Any]:
    assert trial.finished_at is not None
    hour = max(0, int((trial.finished_at - campaign.created_at).total_seconds() // 3600))
    return {"campaign": campaign.pk, "hour": hour, "role": trial.role, "label": label}


def _seconds(trial: Trial) -> dict[str, float]:
    return {name: getattr(trial, name) or 0.0 for name in SECONDS}


def settle(campaign: Campaign, trial: Trial, standing: Label) -> None:
    """A provisional trial stands as ``keep`` or ``discard`` from now on."""
    _discount(campaign, trial, Label.PROVISIONAL)
    tallies.settle(campaign, trial, standing)
    Trial.objects.filter(pk=trial.pk).update(standing=standing)
    trial.standing = standing
    together([counting(campaign, trial, standing)])


def crown(campaign: Campaign, trial: Trial, score: float, now: datetime) -> None:
    """The trial is the best from now on, at this score."""
    if trial.standing == Label.BASELINE:
        campaign.start_score = score
    else:
        campaign.keep_count += 1
        campaign.last_keep_at = now
    campaign.best_score, campaign.best_trial = score, trial
    FrontierStep.objects.create(campaign=campaign, trial=trial, number=trial.number, score=score, at=now)


def book_repeat(campaign: Campaign, evaluation: Evaluation) -> None:
    """Count a measurement that is no trial, and what it took."""
    campaign.repeat_count += 1
    if evaluation.claimed_at is not None and evaluation.measured_at is not None:
        campaign.repeat_seconds += (evaluation.measured_at - evaluation.claimed_at).total_seconds()


def note_abort(campaign: Campaign, label: str) -> None:
    """Count infrastructure failures in a row; the next event saves the count."""
    campaign.aborts_in_a_row = campaign.aborts_in_a_row + 1 if label == Label.HARNESS_ABORT else 0


def trip_breaker(campaign: Campaign) -> None:
    """Several infrastructure failures in a row pause the campaign loudly instead of burning its hours."""
    if campaign.aborts_in_a_row < BREAKER_ABORTS or campaign.state != CampaignState.RUNNING:
        return
    campaign.state = CampaignState.PAUSED
    campaign.state_reason = f"{campaign.aborts_in_a_row} infrastructure failures in a row"
    payload = {"from": CampaignState.RUNNING, "to": CampaignState.PAUSED, "reason": campaign.state_reason}
    append_event(campaign, EventKind.CAMPAIGN_STATE, "breaker", payload)
