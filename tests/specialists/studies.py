"""Studies made through the real services, their trials recorded by hand, as a site with workers would write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from specialists.models import Study
from specialists.studies import services
from specialists.studies.plan import StudySettings
from specialists.studies.standing import places
from tests.factories import finish, start, submit
from trials.models import Campaign, Trial
from trials.services import campaigns
from trials.vocab import CampaignState

SETTINGS = StudySettings(
    environment="parameter_golf", profile="smoke", arms=("swarm", "random"), repeats=2, trials=4, keep_rule="strict",
    slots=2, seed=7, name="By hand",
)  # fmt: skip


def launched(**changes: Any) -> Study:
    """A study whose first campaigns are there."""
    study = services.launch_study(replace(SETTINGS, **changes), actor="test")
    services.advance(study.pk)
    study.refresh_from_db()
    return study


def newest(study: Study) -> list[Campaign]:
    """Campaigns of the study by place."""
    return [place.campaign for place in places(study) if place.campaign is not None]


def search(campaign: Campaign, outcomes: Sequence[float | str], *, end: bool = True, role: str = "loss") -> None:
    """Record the start and then trials: a score, or the label of a failure."""
    begun = outcomes[0]
    assert isinstance(begun, float)
    finish(start(Trial.objects.get(campaign=campaign, number=0)), begun)
    for at, outcome in enumerate(outcomes[1:]):
        trial = submit(
            campaign, role=role if at % 2 else "meta", hypothesis=f"{campaign.seed} idea {at} about {role} words"
        )
        if isinstance(outcome, str):
            finish(start(trial), None, outcome, reason=f"{outcome} it is")
        else:
            finish(start(trial), outcome)
    if end:
        campaigns.change_state(campaign.pk, CampaignState.FINISHED, actor="test", reason="all trials are done")
