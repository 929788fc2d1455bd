"""What the loop needs to know of a campaign, read in one statement: it is asked several times for each trial."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from specialists import checkpoints, loop
from specialists.vocab import SessionState
from trials.models import Campaign
from trials.services import repeats
from trials.standing import waiting_for
from trials.statements import one_of, rows
from trials.vocab import OPEN_TRIAL_STATES, REPEATS, CampaignState, EvaluationState, KeepRule, Purpose, TrialState

_IN_FLIGHT = f"""
FROM trials_evaluation WHERE campaign_id = %(campaign)s
 AND state IN {one_of([EvaluationState.QUEUED, EvaluationState.RUNNING])}
"""
# Sessions are numbered without gaps, so the newest one tells how many there are. The newest of every role is found
# through the index: DISTINCT ON would read all of them.
_NOW = f"""
SELECT (SELECT json_agg(json_build_array(number, role)) FROM trials_trial
         WHERE campaign_id = %(campaign)s AND state IN {one_of(OPEN_TRIAL_STATES)}),
       (SELECT json_agg(role) FROM specialists_session
         WHERE campaign_id = %(campaign)s AND state = '{SessionState.RUNNING}'),
       (SELECT json_agg(t.number) FROM trials_confirmation AS c JOIN trials_trial AS t ON t.id = c.trial_id
         WHERE c.campaign_id = %(campaign)s AND c.ruling = ''
           AND NOT EXISTS (SELECT FROM trials_approval WHERE trial_id = t.id AND answer = '')),
       (SELECT state FROM trials_trial WHERE campaign_id = %(campaign)s AND number = 0),
       (SELECT coalesce(max(number), -1) + 1 FROM specialists_session WHERE campaign_id = %(campaign)s),
       (SELECT json_object_agg(role, closed) FROM specialists_account
         WHERE campaign_id = %(campaign)s AND closed <> ''),
       (SELECT count(*) {_IN_FLIGHT} AND purpose <> '{Purpose.REMEASURE}'),
       (SELECT count(*) {_IN_FLIGHT} AND purpose IN {one_of(REPEATS)}),
       EXISTS (SELECT FROM trials_maintenance), clock_timestamp(),
       (SELECT json_agg(json_build_array(last.role, last.state, last.fault, last.up_to, last.started_at))
          FROM unnest(%(roles)s::text[]) AS each(role) CROSS JOIN LATERAL (
            SELECT role, state, fault, up_to, started_at FROM specialists_session
             WHERE campaign_id = %(campaign)s AND specialists_session.role = each.role ORDER BY number DESC LIMIT 1
          ) AS last)
"""  # noqa: S608 - words of this program


def situation(campaign: Campaign) -> loop.Situation:
    """What the loop needs to know of a locked campaign."""
    roles = [role["name"] for role in campaign.roles]
    [found] = rows(_NOW, {"campaign": campaign.pk, "roles": roles})
    trials, running, confirming, start, count, closed, measuring, repeated, maintenance, now, last = found
    open_trials: list[tuple[int, str]] = trials or []
    running, confirming, closed = running or [], confirming or [], (closed or {}) if campaign.agent else {}
    next_number = campaign.last_number + 1
    unsettled = [*(number for number, _ in open_trials), *confirming, *checkpoints.waiting_trials(campaign)]
    first_open = min(unsettled, default=next_number)
    submitted = campaign.trial_count + sum(number > 0 for number, _ in open_trials) + len(running)
    calibrated = campaign.keep_rule != KeepRule.VERIFIED or campaign.noise_sd is not None
    wanted = campaign.state == CampaignState.RUNNING and (confirming or not calibrated)
    return loop.Situation(
        state=CampaignState(campaign.state),
        now=now,
        created_at=campaign.created_at,
        last_gain_at=checkpoints.last_gain(campaign),
        max_trials=campaign.max_trials,
        max_hours=campaign.max_hours,
        no_improvement_hours=campaign.no_improvement_hours,
        slots=campaign.slots,
        seed=campaign.seed,
        reproducible=campaign.reproducible,
        roles=roles,
        submitted=submitted,
        next_number=next_number,
        finished_through=first_open - 1,
        has_baseline=campaign.best_score is not None,
        baseline_failed=start == TrialState.FINISHED and campaign.best_score is None,
        open_sessions=len(running),
        open_trials=len(open_trials),
        sessions=count,
        busy_roles=frozenset(role for _, role in open_trials) | frozenset(running),
        spent_roles=_spent_roles(campaign, last or [], next_number) | closed.keys(),
        exhausted=closed.get("", ""),
        budgets_spent=bool(closed),
        waiting=waiting_for(campaign),
        used_up=checkpoints.used_up(campaign, submitted),
        refused=checkpoints.refusal(campaign),
        calibrated=calibrated,
        confirming=len(confirming),
        repeats=repeated,
        repeats_wanted=repeats.wanted(campaign) if wanted else 0,
        measuring=measuring,
        maintenance=maintenance,
    )


def _spent_roles(campaign: Campaign, last: Sequence[Sequence[Any]], next_number: int) -> frozenset[str]:
    """Roles whose last session came to nothing on the evidence that a new one would see again.

    last: role, state, fault, up_to and started_at (ISO 8601) of the newest session of each.
    """
    newest = max(filter(None, (campaign.last_recorded_at, campaign.last_keep_at)), default=None)
    shown = max(0, next_number - campaign.slots)
    return frozenset(
        role
        for role, state, fault, up_to, started_at in last
        if (state == SessionState.NOTHING or (state == SessionState.FAILED and not fault))
        and _seen(campaign, shown, newest, up_to, datetime.fromisoformat(started_at))
    )


def _seen(campaign: Campaign, shown: int, newest: datetime | None, up_to: int | None, started_at: datetime) -> bool:
    """Whether a new session would see what this one saw."""
    if campaign.reproducible:
        return up_to is not None and up_to >= shown
    return newest is None or started_at >= newest
