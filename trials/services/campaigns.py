"""Campaigns: create, change state, measure what is left at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from trials import clock
from trials.canonical import sha256_of
from trials.models import Campaign, Evaluation, Trial
from trials.services import confirmations, shares
from trials.services.events import append_event
from trials.vocab import (
    LIVE_CAMPAIGN_STATES,
    CampaignState,
    Enforcement,
    EvaluationState,
    EventKind,
    Purpose,
    TrialState,
)

SLUG_LENGTH = 60


class WrongState(ValueError):
    """The campaign is not in a state that allows this."""


@dataclass(frozen=True)
class CampaignPlan:
    """All that is fixed at launch. ``roles`` is the roster as JSON (name, surface, preamble); hours are wall-clock."""

    name: str
    environment: str
    profile: str
    spec: Mapping[str, Any]
    roster: str
    roles: Sequence[Mapping[str, Any]]
    proposer: str
    lineage: str
    keep_rule: str
    minimum_level: str
    seed: int
    reproducible: bool
    max_trials: int
    max_hours: float
    slots: int
    no_improvement_hours: float
    enforcement: str = Enforcement.STRICT
    origin: Mapping[str, Any] = field(default_factory=dict)
    agent: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Mapping[str, Any] = field(default_factory=dict)


def create_campaign(
    plan: CampaignPlan,
    *,
    actor: str,
    user: User | None = None,
    slug: str = "",
    at: datetime | None = None,
    ended: str = "",
    weight: int = shares.LEAST,
) -> Campaign:
    """Write a new running campaign and its first event. Slugs are made unique by a number.

    slug: in place of one made of the name; at: when it was launched, by default now; ended: for a campaign that never
    runs, why it counts as stopped from the beginning; weight: what its use of evaluators counts for beside others.
    Raises trials.services.shares.BadWeight.
    """
    shares.check_weight(weight)
    values = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    values["spec"], values["origin"] = dict(plan.spec), dict(plan.origin)
    values["roles"] = [dict(role) for role in plan.roles]
    values["agent"], values["checkpoints"] = dict(plan.agent), dict(plan.checkpoints)

    def write(slug: str) -> Campaign:
        campaign = Campaign.objects.create(
            slug=slug,
            created_by=user,
            created_at=at or clock.now(),
            spec_sha256=sha256_of(values["spec"]),
            direction=plan.spec["direction"],
            score_name=plan.spec["score_name"],
            state=CampaignState.STOPPED if ended else CampaignState.RUNNING,
            state_reason=ended,
            finished_at=clock.now() if ended else None,
            **values,
        )
        shares.set_weight(campaign, weight)
        launched = values | _launched(campaign) | {"weight": weight}
        append_event(campaign, EventKind.CAMPAIGN_LAUNCHED, actor, launched, at=at)
        return campaign

    return under_free_slug(slug or plan.name, write)


def under_free_slug(name: str, write: Callable[[str], Campaign]) -> Campaign:
    """What ``write`` makes of the first slug for this name that is not taken, in a transaction of its own."""
    base = slugify(name)[:SLUG_LENGTH] or "campaign"
    number = 1
    while True:
        slug = base if number == 1 else f"{base}-{number}"
        try:
            with transaction.atomic():
                return write(slug)
        except IntegrityError:
            if not Campaign.objects.filter(slug=slug).exists():
                raise
            number += 1


def _launched(campaign: Campaign) -> dict[str, Any]:
    """What the first event says beside the plan."""
    return {
        "created_at": campaign.created_at.isoformat(),
        "created_by": None if campaign.created_by is None else campaign.created_by.get_username(),
        "spec_sha256": campaign.spec_sha256,
        "direction": campaign.direction,
        "score_name": campaign.score_name,
        "state": campaign.state,
        "state_reason": campaign.state_reason,
    }


_ALLOWED: dict[CampaignState, frozenset[CampaignState]] = {
    CampaignState.PAUSED: frozenset({CampaignState.RUNNING}),
    CampaignState.RUNNING: frozenset({CampaignState.PAUSED}),
    CampaignState.FINALISING: frozenset({CampaignState.RUNNING}),
    CampaignState.FINISHED: frozenset({CampaignState.RUNNING, CampaignState.FINALISING}),
    CampaignState.STOPPED: frozenset(LIVE_CAMPAIGN_STATES),
    CampaignState.FAILED: frozenset(LIVE_CAMPAIGN_STATES),
}


@transaction.atomic
def change_state(campaign_id: int, to: CampaignState, *, actor: str, reason: str) -> Campaign:
    """Move a campaign to another state; stopping cancels what is in flight. Raises WrongState."""
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    if campaign.bundle is not None:
        raise WrongState(f"campaign {campaign.slug} was imported: its record is closed")
    if campaign.state not in _ALLOWED[to]:
        raise WrongState(f"campaign {campaign.slug} is {campaign.state}, so it cannot become {to}")
    before, campaign.state, campaign.state_reason = campaign.state, to, reason[:300]
    if to not in LIVE_CAMPAIGN_STATES:
        campaign.finished_at = clock.now()
        _cancel_open(campaign)
    elif to is CampaignState.RUNNING:
        campaign.aborts_in_a_row = 0
    append_event(campaign, EventKind.CAMPAIGN_STATE, actor, {"from": before, "to": to, "reason": reason[:300]})
    return campaign


@transaction.atomic
def weigh(campaign_id: int, weight: int, *, actor: str) -> Campaign:
    """Give a live campaign another weight, from now on. Raises WrongState, trials.services.shares.BadWeight."""
    shares.check_weight(weight)
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    if campaign.bundle is not None or campaign.state not in LIVE_CAMPAIGN_STATES:
        raise WrongState(f"campaign {campaign.slug} is {campaign.state}: it shares nothing any more")
    before = shares.set_weight(campaign, weight)
    if before != weight:
        append_event(campaign, EventKind.CAMPAIGN_WEIGHT, actor, {"from": before, "to": weight})
    return campaign


def _cancel_open(campaign: Campaign) -> None:
    """What was submitted stays on record as cancelled; workers notice at their next heartbeat.

    What a person asked for beside the search goes on.
    """
    confirmations.abandon(campaign)
    Evaluation.objects.unjudged().filter(campaign=campaign).exclude(purpose=Purpose.REMEASURE).update(
        state=EvaluationState.CANCELLED, lease_expires_at=None
    )
    Trial.objects.filter(campaign=campaign).open().update(state=TrialState.CANCELLED)
