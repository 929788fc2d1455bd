"""A person answers what a campaign asks: the keep becomes the base or not, the search goes on or ends."""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction

from trials import clock
from trials.models import Approval, Campaign
from trials.services import approvals, confirmations, standings
from trials.services.campaigns import WrongState
from trials.vocab import LIVE_CAMPAIGN_STATES, Answer, Direction, KeepRule, Label, Ruling, Subject

GIVEN = frozenset({Answer.APPROVED, Answer.REFUSED})


@transaction.atomic
def answer(
    campaign_id: int, given: Answer, *, actor: str, numbers: Collection[int] | None = None, remark: str = ""
) -> list[Approval]:
    """Answer what waits: all of it, or the questions with these numbers. Returns the questions, as they ended.

    A keep that another one of them overtakes is not approved but ``overtaken``. Raises WrongState where nothing waits,
    or one of the numbers does not; nothing is written then.
    """
    if given not in GIVEN:
        raise ValueError(f"the answer is {given}, expected approved or refused")
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    if campaign.bundle is not None:
        raise WrongState(f"campaign {campaign.slug} was imported: its record is closed")
    waiting = list(Approval.objects.open(campaign.pk)) if campaign.state in LIVE_CAMPAIGN_STATES else []
    chosen = [one for one in waiting if numbers is None or one.number in numbers]
    if not chosen or (numbers is not None and len(chosen) < len(set(numbers))):
        what = "other questions" if waiting else "no answer"
        raise WrongState(f"campaign {campaign.slug} is {campaign.state} and waits for {what}")
    for approval in chosen:
        approval.refresh_from_db()
        if not approval.answer:
            _give(campaign, approval, given, actor=actor, remark=remark)
    return chosen


def _give(campaign: Campaign, approval: Approval, given: Answer, *, actor: str, remark: str) -> None:
    """One answer and what follows from it. An event saves the campaign's counters, so what changes them comes first."""
    trial, approved = approval.trial, given == Answer.APPROVED
    by_score = trial is not None and campaign.keep_rule == KeepRule.STRICT
    if trial is not None and by_score:
        standings.settle(campaign, trial, Label.KEEP if approved else Label.DISCARD)
        if approved:
            assert approval.score is not None
            standings.crown(campaign, trial, approval.score, clock.now())
    approvals.close(campaign, approval, given, actor=actor, remark=remark)
    if by_score and approved:
        _overtake(campaign)
    elif trial is not None and not by_score:
        confirmations.close_asked(campaign, trial, Ruling.CONFIRMED if approved else Ruling.REFUSED)


def _overtake(campaign: Campaign) -> None:
    """By the rule ``strict``: the best has changed, and whoever waits and is not better any more needs no person."""
    direction, best = Direction(campaign.direction), campaign.best_score
    for other in list(Approval.objects.open(campaign.pk).filter(subject=Subject.KEEP)):
        if other.trial is None or other.score is None or best is None or direction.better(other.score, best):
            continue
        standings.settle(campaign, other.trial, Label.DISCARD)
        approvals.close(campaign, other, Answer.OVERTAKEN, actor="loop")
