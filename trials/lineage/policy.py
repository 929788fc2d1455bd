"""Which trials a role may see. Every reader of the record on behalf of an agent asks here.

``shared``: every revealed trial. ``own-role``: the role's own. ``none``: no trial. Under each the best trial may be
built on, so its number, score, size, exact numbers and source are told; where it is somebody else's and not shown, its
hypothesis, its role, its transformations and its parent are not.
"""

from __future__ import annotations

from trials.models import Campaign, FrontierStep, Trial
from trials.querysets import TrialQuerySet
from trials.standing import fate
from trials.vocab import LineagePolicy


def visible_trials(campaign: Campaign, role: str, up_to: int | None = None) -> TrialQuerySet:
    """Revealed trials with an outcome that ``role`` may see; infrastructure failures are not among them."""
    rows: TrialQuerySet = Trial.objects.of(campaign.pk).evidence(up_to)
    policy = LineagePolicy(campaign.lineage)
    if policy is LineagePolicy.NONE:
        return rows.none()
    return rows.filter(role=role) if policy is LineagePolicy.OWN_ROLE else rows


def best_trial(campaign: Campaign, up_to: int | None = None) -> Trial | None:
    """The best trial of those revealed, by the newest decision; None before the baseline is measured."""
    steps = FrontierStep.objects.filter(campaign=campaign)
    if up_to is not None:
        steps = steps.filter(number__lte=up_to)
    step = steps.order_by("-id").select_related("trial").first()
    return None if step is None else step.trial


def told_of_twin(campaign: Campaign, role: str, number: int, up_to: int | None = None) -> str:
    """What an agent may be told when trial ``number`` has the source that it just wrote."""
    best = best_trial(campaign, up_to)
    visible = visible_trials(campaign, role, up_to).filter(number=number).first()
    if visible is not None:
        return f"trial {number} has this source, it {fate(visible)}"
    if number == 0 or (best is not None and best.number == number):
        return f"trial {number} has this source"
    return "an earlier trial has this source"
