"""How a study stands: its places, the newest campaign of each, and a number that grows with every event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum

from specialists.models import Study, StudyCampaign
from trials.models import Campaign
from trials.vocab import LIVE_CAMPAIGN_STATES, CampaignState


@dataclass(frozen=True)
class Place:
    """One arm and repeat. ``wanted``: a campaign has to be launched for it."""

    arm: str
    repeat: int
    campaign: Campaign | None
    wanted: bool

    @property
    def live(self) -> bool:
        return self.campaign is not None and self.campaign.state in LIVE_CAMPAIGN_STATES

    @property
    def complete(self) -> bool:
        return self.campaign is not None and self.campaign.state == CampaignState.FINISHED

    @property
    def broken(self) -> bool:
        """Its campaign ended without coming to its end."""
        return self.campaign is not None and not (self.live or self.complete)


def places(study: Study) -> list[Place]:
    """Every place in the order of launch: the first repeat of all arms, then the second, so that a study that is cut
    short has compared equals."""
    newest: dict[tuple[str, int], StudyCampaign] = {}
    for member in StudyCampaign.objects.filter(study=study).select_related("campaign__best_trial").order_by("attempt"):
        newest[member.arm, member.repeat] = member
    return [
        _place(arm["name"], repeat, newest.get((arm["name"], repeat)), study.attempts)
        for repeat in range(study.plan["repeats"])
        for arm in study.arms
    ]


def _place(arm: str, repeat: int, member: StudyCampaign | None, attempts: int) -> Place:
    if member is None:
        return Place(arm, repeat, None, wanted=True)
    found = Place(arm, repeat, member.campaign, wanted=False)
    again = found.broken and member.attempt < attempts
    return Place(arm, repeat, member.campaign, wanted=again)


def seq_of(study: Study) -> int:
    """Changes of the study and events of its campaigns: grows whenever something that its page shows has changed."""
    events = StudyCampaign.objects.filter(study=study).aggregate(sum=Sum("campaign__last_seq"))["sum"] or 0
    changes = Study.objects.values_list("changes", flat=True).get(pk=study.pk)
    return int(events + changes)


def head(study: Study) -> dict[str, Any]:
    """What a page is told when something changed."""
    fresh = Study.objects.get(pk=study.pk)
    return {"seq": seq_of(fresh), "state": fresh.state, "state_reason": fresh.state_reason}


def group_name(slug: str) -> str:
    """The channel group of a study's page."""
    return f"study.{slug}"


def by_arm(study: Study, found: list[Place]) -> Mapping[str, list[Place]]:
    """Places of each arm by repeat, in the order of the plan."""
    return {arm["name"]: [place for place in found if place.arm == arm["name"]] for arm in study.arms}
