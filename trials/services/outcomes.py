"""Recording what the judge decided: keep rule, frontier and rollups in one transaction under the campaign lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import transaction

from trials import confirm, keep, sketch, statements
from trials.models import Campaign, Evaluation, Measurement, Trial
from trials.services import approvals, calibrations, confirmations, rows, standings, tallies
from trials.services.events import append_event
from trials.services.verdicts import JUDGE, Verdict
from trials.vocab import (
    SCORED_LABELS,
    UNCOUNTED_LABELS,
    VALID,
    Direction,
    EvaluationState,
    EventKind,
    KeepRule,
    Label,
    Purpose,
    TrialState,
)

#: What an outcome writes to the row of its trial.
FILLED = (
    "state", "label", "reason", "standing", "failure", "score", "numbers", "delta_vs_best", "delta_vs_parent",
    "artifact_bytes", "excerpt", "log", "isolation_level", "measured_at", "finished_at", "queue_seconds", "run_seconds",
    "eval_seconds", "log_seconds",
)  # fmt: skip
#: The measurement that was the baseline's, of a campaign.
_OF_BASELINE = f"""
WHERE trial_id = (SELECT id FROM trials_trial WHERE campaign_id = %s AND number = 0) AND purpose = '{Purpose.TRIAL}'
ORDER BY id LIMIT 1
"""  # noqa: S608 - words of this program
_JUDGED = f"""
WITH judged AS (
    UPDATE trials_evaluation SET state = '{EvaluationState.JUDGED}'
     WHERE id = %(id)s AND state = '{EvaluationState.MEASURED}' RETURNING id, campaign_id)
SELECT {statements.columns(Measurement, "one")}, {statements.columns(Trial, "trial")},
       {statements.columns(Trial, "parent")}, {statements.columns(Measurement, "baseline")}
  FROM judged JOIN trials_measurement AS one ON one.evaluation_id = judged.id
  JOIN trials_trial AS trial ON trial.id = one.trial_id
  LEFT JOIN trials_trial AS parent ON parent.id = trial.parent_id
  LEFT JOIN LATERAL (SELECT * FROM trials_measurement {_OF_BASELINE.replace("%s", "judged.campaign_id")}) AS baseline
    ON true
"""  # noqa: S608 - words of this program
SCORING_PHASES = ("spell", "predict", "probe", "eval")


@dataclass(frozen=True)
class Seconds:
    """Wall-clock split of one trial (paper: tau = run + eval + queue + log)."""

    queue: float
    run: float
    eval: float
    log: float


@transaction.atomic
def record_outcome(evaluation_id: int, verdict: Verdict) -> Trial | None:
    """Close a measured trial with its label; None when it was closed or cancelled before.

    Raises ValueError when a valid verdict carries a score that is not finite.
    """
    campaign = rows.campaign_of(evaluation_id)
    judged = [] if campaign is None else statements.rows(_JUDGED, {"id": evaluation_id})
    if campaign is None or not judged:
        return None
    trial: Trial
    measurement, trial, trial.parent, baseline = statements.instances(judged[0], Measurement, Trial, Trial, Measurement)
    trial.campaign, measurement.trial = campaign, trial
    verdict = _marked(verdict, measurement, baseline)
    now = campaign.held_since
    label = label_of(campaign, trial, verdict)
    fill(trial, campaign, measurement, _explained(campaign, verdict, label), label, now)
    _count(campaign, trial, label, now)
    if label in (Label.BASELINE, Label.KEEP) and trial.score is not None:
        standings.crown(campaign, trial, trial.score, now)
    append_event(campaign, EventKind.TRIAL_FINISHED, JUDGE, finished_payload(trial, measurement), trial, now)
    standings.trip_breaker(campaign)
    if label is Label.PROVISIONAL:
        _promising(campaign, trial)
    if label is Label.BASELINE:
        calibrations.finish_if_done(campaign)
    return trial


def _promising(campaign: Campaign, trial: Trial) -> None:
    """It looks better than the best: the rule asks fresh seeds, or a person."""
    if campaign.keep_rule == KeepRule.VERIFIED:
        confirmations.open_confirmation(campaign, trial)
    elif trial.score is not None:
        approvals.ask_for_keep(campaign, trial, trial.score)


def _marked(verdict: Verdict, measurement: Measurement, baseline: Measurement | None) -> Verdict:
    """The verdict, which says so where the score comes from another machine than the baseline's."""
    differs = _other_machine(measurement, baseline) if verdict.label == VALID else ""
    if not differs:
        return verdict
    reason = "; ".join(filter(None, (verdict.reason, f"measured on another machine than the baseline: {differs}")))
    return replace(verdict, reason=reason, numbers={**verdict.numbers, "other_machine": differs})


def _other_machine(measurement: Measurement, baseline: Measurement | None) -> str:
    """How its machine differs from that of the campaign's baseline; empty for the baseline itself."""
    if baseline is None or baseline.pk == measurement.pk:
        return ""
    return keep.other_machine(measurement.record.get("fingerprint", {}), baseline.record.get("fingerprint", {}))


def label_of(campaign: Campaign, trial: Trial, verdict: Verdict) -> Label:
    if verdict.label != VALID:
        return Label(verdict.label)
    if verdict.score is None:
        raise ValueError(f"trial {trial.number}: a valid verdict needs a score")
    if trial.number == 0 or campaign.best_score is None:
        return Label.BASELINE
    rule, direction = KeepRule(campaign.keep_rule), Direction(campaign.direction)
    label = keep.decide(rule, direction, verdict.score, campaign.best_score, campaign.noise_sd)
    return Label.PROVISIONAL if label is Label.KEEP and campaign.approves_keeps else label


def _explained(campaign: Campaign, verdict: Verdict, label: Label) -> Verdict:
    """The verdict, which says so where a better score is within the noise."""
    if label is not Label.DISCARD or campaign.noise_sd is None or verdict.score is None or campaign.best_score is None:
        return verdict
    gain = confirm.lead(Direction(campaign.direction), verdict.score, campaign.best_score)
    if gain <= 0:
        return verdict
    told = f"{gain:.6f} better than the best, within the noise: {confirm.MARGIN * campaign.noise_sd:.6f} are needed"
    return replace(verdict, reason="; ".join(filter(None, (verdict.reason, told))))


def fill(
    trial: Trial, campaign: Campaign, measurement: Measurement, verdict: Verdict, label: Label, now: datetime
) -> None:
    record = measurement.record
    trial.state, trial.label, trial.reason = TrialState.FINISHED, label, verdict.reason[:300]
    trial.standing = label
    trial.failure = "" if label in SCORED_LABELS else sketch.failure_key(label, trial.reason)
    trial.score, trial.numbers = verdict.score, {**verdict.numbers, **_crossing(trial)}
    if verdict.score is not None:
        if campaign.best_score is not None and label is not Label.BASELINE:
            trial.delta_vs_best = verdict.score - campaign.best_score
        if trial.parent is not None and trial.parent.score is not None:
            trial.delta_vs_parent = verdict.score - trial.parent.score
    code, payload = record.get("code_bytes"), record.get("payload_bytes")
    trial.artifact_bytes = None if code is None or payload is None else code + payload
    trial.excerpt, trial.log_id = record.get("excerpt", ""), measurement.log_id
    trial.isolation_level = record.get("isolation", {}).get("level", "")
    trial.measured_at, trial.finished_at = measurement.created_at, now
    seconds = split_seconds(trial, record.get("seconds", {}))
    trial.queue_seconds, trial.run_seconds = seconds.queue, seconds.run
    trial.eval_seconds, trial.log_seconds = seconds.eval, seconds.log


def _crossing(trial: Trial) -> dict[str, Any]:
    """How many files outside its surface it changed, where that was let pass."""
    crossed = trial.proposal.get("crossed", [])
    return {"files_outside_surface": len(crossed)} if crossed else {}


def split_seconds(trial: Trial, phases: Mapping[str, float]) -> Seconds:
    """Queue: submitted to claimed; run: until scoring; eval: scoring; log: measured to recorded."""
    if trial.started_at is None or trial.measured_at is None or trial.finished_at is None:
        return Seconds(0.0, 0.0, 0.0, 0.0)
    worked = (trial.measured_at - trial.started_at).total_seconds()
    evaluated = min(worked, sum(value for name, value in phases.items() if name.startswith(SCORING_PHASES)))
    return Seconds(
        queue=(trial.started_at - trial.submitted_at).total_seconds(),
        run=worked - evaluated,
        eval=evaluated,
        log=(trial.finished_at - trial.measured_at).total_seconds(),
    )


def _count(campaign: Campaign, trial: Trial, label: Label, now: datetime) -> None:
    """Write the trial's row and all sums that it counts in."""
    campaign.recorded_number = max(campaign.recorded_number, trial.number)
    if label not in UNCOUNTED_LABELS:
        campaign.trial_count += 1
        campaign.last_recorded_at = now
    standings.note_abort(campaign, label)
    sums = [standings.counting(campaign, trial, label), *tallies.counting(campaign, trial)]
    statements.together([rows.updating(trial, *FILLED), *sums])


def finished_payload(trial: Trial, measurement: Measurement) -> dict[str, Any]:
    return {
        "number": trial.number,
        "role": trial.role,
        "label": trial.label,
        "reason": trial.reason,
        "score": trial.score,
        "delta_vs_best": trial.delta_vs_best,
        "delta_vs_parent": trial.delta_vs_parent,
        "numbers": trial.numbers,
        "artifact_bytes": trial.artifact_bytes,
        "measurement": measurement.sha256,
        "evaluator": measurement.record.get("evaluator_sha256", ""),
        "excerpt": trial.excerpt,
        "log": trial.log_id,
        "isolation_level": trial.isolation_level,
        **{name: _iso(getattr(trial, name)) for name in ("started_at", "measured_at", "finished_at")},
        **{f"{name}_seconds": getattr(trial, f"{name}_seconds") for name in ("queue", "run", "eval", "log")},
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


@transaction.atomic
def record_sealed(evaluation_id: int) -> bool:
    """Close a sealed measurement with an event; False when it was closed before."""
    found = Evaluation.objects.filter(pk=evaluation_id).values_list("campaign_id", flat=True).first()
    if found is None:
        return False
    campaign: Campaign = Campaign.objects.locked(found)
    changed = Evaluation.objects.filter(pk=evaluation_id, state=EvaluationState.MEASURED).update(
        state=EvaluationState.JUDGED
    )
    if not changed:
        return False
    measurement = Measurement.objects.select_related("trial", "evaluation").get(evaluation_id=evaluation_id)
    standings.book_repeat(campaign, measurement.evaluation)
    payload = {
        "number": measurement.trial.number,
        "split": measurement.split,
        "seed": measurement.seed,
        "status": measurement.status,
        "score": measurement.score,
        "measurement": measurement.sha256,
        "log": measurement.log_id,
    }
    baseline = statements.first(Measurement, _OF_BASELINE, [campaign.pk])
    if differs := _other_machine(measurement, baseline):
        payload["other_machine"] = differs
    append_event(campaign, EventKind.SEALED_MEASURED, JUDGE, payload, measurement.trial)
    return True
