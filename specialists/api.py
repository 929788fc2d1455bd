"""What programs steer: launch, pause, resume, stop. The same checks and words as in the admin.

Added to the router of what they read: one address has one router, whatever the method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from ninja import Schema

from evaluators.registry import ENVIRONMENTS
from specialists import launch
from specialists.roster_store import rosters_of
from specialists.vocab import ProposerName
from trials.access import access_campaign, access_trial, may_launch, may_steer
from trials.again import again
from trials.api import schemas
from trials.api.auth import Token
from trials.api.reading import campaign_out, router
from trials.models import Campaign
from trials.services.campaigns import WrongState
from trials.services.shares import BadWeight
from trials.vocab import Enforcement, LineagePolicy, Scope

__all__ = ["router"]

TAGS = ["steer"]


class EnvironmentOut(Schema):
    """What can be launched."""

    name: str
    title: str
    score_name: str
    direction: str
    profiles: list[str]
    rosters: list[str]


class LaunchIn(Schema, extra="forbid"):
    """As ``manage.py launch``; what is left out has the same default there."""

    environment: str
    profile: str = "cpu"
    roster: str = ""
    proposer: str = str(ProposerName.CATALOG)
    lineage: str = str(LineagePolicy.SHARED)
    keep_rule: str = ""
    enforcement: str = str(Enforcement.STRICT)
    trials: int = 60
    hours: float = 24.0
    no_improvement_hours: float = 4.0
    slots: int = 2
    weight: int = 1
    seed: int = 0
    reproducible: bool = False
    start_from: str = ""
    level: str = "L2"
    name: str = ""
    usd: float | None = None
    approve_keeps: bool = False
    approve_trials: int = 0
    approve_hours: float = 0.0
    approve_usd: float = 0.0


@router.get("/environments", response=list[EnvironmentOut], tags=TAGS)
def environments(request: HttpRequest) -> list[dict[str, Any]]:
    """Environments with their profiles and rosters."""
    return [
        {
            "name": name,
            "title": each.spec.title,
            "score_name": each.spec.score_name,
            "direction": each.spec.direction,
            "profiles": list(each.spec.profiles),
            "rosters": list(rosters_of(each.spec)),
        }
        for name, each in sorted(ENVIRONMENTS.items())
    ]


@router.post(
    "/campaigns", response={201: schemas.CampaignOut, 422: schemas.Problem}, auth=Token(Scope.STEER), tags=TAGS
)
def launch_campaign(request: HttpRequest, chosen: LaunchIn) -> tuple[int, dict[str, Any]]:
    """Launch a campaign; the token's owner needs the permission for it."""
    user = request.user
    if not (isinstance(user, User) and may_launch(user)):
        raise PermissionDenied(f"{user.get_username()} may not launch campaigns")
    settings = launch.LaunchSettings(
        **{each.name: getattr(chosen, each.name) for each in fields(launch.LaunchSettings)}
    )
    try:
        made = launch.launch_campaign(settings, actor=user.get_username(), user=user)
    except (launch.LaunchError, ValueError, OSError) as error:
        return 422, {"detail": str(error)}
    return 201, campaign_out(Campaign.objects.select_related("created_by", "best_trial", "share").get(pk=made.pk))


def _verb(verb: str) -> Callable[[Campaign, str], object]:
    return lambda campaign, who: launch.STEERING[verb](campaign, actor=who)


def _steer(request: HttpRequest, slug: str, act: Callable[[Campaign, str], object]) -> tuple[int, dict[str, Any]]:
    found = access_campaign(request.user, slug)
    if not may_steer(request.user, found):
        raise PermissionDenied(f"{request.user.get_username()} may not steer campaigns")
    try:
        act(found, request.user.get_username())
    except WrongState as error:
        return 409, {"detail": str(error)}
    return 200, campaign_out(access_campaign(request.user, slug))


STEERED = {200: schemas.CampaignOut, 409: schemas.Problem}


@router.post("/campaigns/{slug}/pause", response=STEERED, auth=Token(Scope.STEER), tags=TAGS)
def pause(request: HttpRequest, slug: str) -> tuple[int, dict[str, Any]]:
    """No further trial starts; what is in flight finishes."""
    return _steer(request, slug, _verb("pause"))


@router.post("/campaigns/{slug}/resume", response=STEERED, auth=Token(Scope.STEER), tags=TAGS)
def resume(request: HttpRequest, slug: str) -> tuple[int, dict[str, Any]]:
    """Go on after a pause."""
    return _steer(request, slug, _verb("resume"))


@router.post("/campaigns/{slug}/stop", response=STEERED, auth=Token(Scope.STEER), tags=TAGS)
def stop(request: HttpRequest, slug: str) -> tuple[int, dict[str, Any]]:
    """End the search now; trials in flight are cancelled and stay on record as such."""
    return _steer(request, slug, _verb("stop"))


class WeightIn(Schema, extra="forbid"):
    """What the campaign's use of evaluators counts for beside that of others: 1 to 100."""

    weight: int


@router.post("/campaigns/{slug}/weight", response=STEERED | {422: schemas.Problem}, auth=Token(Scope.STEER), tags=TAGS)
def weigh(request: HttpRequest, slug: str, wanted: WeightIn) -> tuple[int, dict[str, Any]]:
    """Another weight from now on, as an event of the campaign."""
    try:
        return _steer(request, slug, lambda found, who: launch.weigh(found, wanted.weight, actor=who))
    except BadWeight as error:
        return 422, {"detail": f"weight: {error}"}


class RemeasureIn(Schema, extra="forbid"):
    """On how many fresh seeds."""

    seeds: int = 3


class MeasuredAgain(Schema):
    """One seed. purpose: ``remeasure`` where somebody asked for it; label and score are null before it is judged."""

    seed: int
    purpose: str
    state: str
    label: str | None
    score: float | None
    reason: str | None


class RemeasureOut(Schema):
    """What fresh seeds say. recorded: the trial's own score; mean, interval (95 %): of the ``seeds`` valid others."""

    campaign: str
    trial: int
    recorded: float | None
    open: int
    measured: list[MeasuredAgain]
    seeds: int
    mean: float | None
    interval: tuple[float, float] | None


@router.get("/campaigns/{slug}/trials/{int:number}/remeasure", response=RemeasureOut)
def remeasured(request: HttpRequest, slug: str, number: int) -> dict[str, Any]:
    """What a trial scored on other seeds, and what is still being measured."""
    trial = access_trial(request.user, slug, number)
    return again(trial).as_json(trial)


REMEASURED = {200: RemeasureOut, 409: schemas.Problem, 422: schemas.Problem}


def _remeasure(
    request: HttpRequest, slug: str, number: int, act: Callable[[Campaign, str], object]
) -> tuple[int, dict[str, Any]]:
    trial = access_trial(request.user, slug, number)
    who = request.user.get_username()
    if not may_steer(request.user, trial.campaign):
        raise PermissionDenied(f"{who} may not measure trials of {slug} again")
    try:
        act(trial.campaign, who)
    except WrongState as error:
        return 409, {"detail": str(error)}
    except ValueError as error:
        return 422, {"detail": str(error)}
    return 200, again(trial).as_json(trial)


@router.post("/campaigns/{slug}/trials/{int:number}/remeasure", response=REMEASURED, auth=Token(Scope.STEER), tags=TAGS)
def remeasure(request: HttpRequest, slug: str, number: int, wanted: RemeasureIn) -> tuple[int, dict[str, Any]]:
    """Measure a finished trial again on fresh seeds: measurements are added, nothing recorded changes."""
    return _remeasure(
        request, slug, number, lambda campaign, who: launch.remeasure(campaign, number, wanted.seeds, actor=who)
    )


@router.delete(
    "/campaigns/{slug}/trials/{int:number}/remeasure", response=REMEASURED, auth=Token(Scope.STEER), tags=TAGS
)
def cancel_remeasure(request: HttpRequest, slug: str, number: int) -> tuple[int, dict[str, Any]]:
    """Give up what is not measured yet."""
    return _remeasure(request, slug, number, lambda campaign, who: launch.cancel_remeasure(campaign, number, actor=who))
