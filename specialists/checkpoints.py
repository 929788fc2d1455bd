"""What the loop has to know of a campaign that asks a person, and the launch settings behind it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from specialists.models import Account
from trials import clock
from trials.checkpoints import amount
from trials.models import Approval, Campaign
from trials.services import answers, approvals
from trials.vocab import Answer, Subject


def used(campaign: Campaign, submitted: int) -> dict[str, float]:
    """How much of each budget is used; ``submitted`` trials are done or in flight."""
    spent = Account.objects.filter(campaign=campaign, role="").values_list("cost", flat=True).first()
    elapsed = (clock.now() - campaign.created_at) / timedelta(hours=1)
    return {Subject.TRIALS: float(submitted), Subject.HOURS: elapsed, Subject.USD: float(spent or 0)}


def used_up(campaign: Campaign, submitted: int) -> str:
    """The first budget of which all that a person has approved is used; empty while there is room in each."""
    if not campaign.checkpoints:
        return ""
    now = used(campaign, submitted)
    return next((name for name, most in approvals.allowed(campaign).items() if now[name] >= most), "")


def refusal(campaign: Campaign) -> str:
    """Why the search is over for a person; empty where nobody has refused to go on."""
    if not campaign.checkpoints:
        return ""
    refused = Approval.objects.filter(campaign=campaign, answer=Answer.REFUSED).exclude(subject=Subject.KEEP).last()
    return "" if refused is None else f"a person refused to go on after {amount(refused.subject, refused.used or 0.0)}"


def last_gain(campaign: Campaign) -> datetime | None:
    """When the newest keep was recorded, or a person last answered: while one was asked nothing could improve."""
    given = Approval.objects.filter(campaign=campaign, answer__in=answers.GIVEN) if campaign.checkpoints else []
    times = [one.answered_at for one in given]
    return max(filter(None, (campaign.last_keep_at, *times)), default=None)


def waiting_trials(campaign: Campaign) -> list[int]:
    """Numbers of trials that wait for a person: their outcome is not settled."""
    if not campaign.checkpoints:
        return []
    return list(Approval.objects.open(campaign.pk).filter(trial__isnull=False).values_list("trial__number", flat=True))


def chosen_at_launch(keeps: bool, **steps: float | None) -> dict[str, Any]:
    """``Campaign.checkpoints`` of what was chosen: empty where nobody is asked."""
    found: dict[str, Any] = {"keeps": True} if keeps else {}
    return found | {name: step for name, step in steps.items() if step}
