"""What a campaign starts from: the environment's recipe, or a keep of another campaign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluators import preflight
from evaluators.contract import EnvironmentSpec
from trials.models import Campaign, FrontierStep, Trial
from trials.querysets import CampaignQuerySet
from trials.services.blobs import get_tree
from trials.vocab import LIVE_CAMPAIGN_STATES


class StartError(ValueError):
    """A start that cannot be used: what was named, and what was expected."""


@dataclass(frozen=True)
class Start:
    """Files of trial 0 and what is said of them.

    origin: empty for the environment's recipe, else ``campaign``, ``trial``, ``score``, ``source``, and ``up_to``, the
    highest trial there whose outcome may be read.
    """

    files: Mapping[str, bytes]
    hypothesis: str = "The starting recipe, unchanged."
    origin: Mapping[str, Any] = field(default_factory=dict)


def start_of(named: str, spec: EnvironmentSpec, profile: str, *, reproducible: bool, among: CampaignQuerySet) -> Start:
    """``SLUG`` (its best) or ``SLUG:TRIAL`` (one of its keeps), or with an empty name the environment's own recipe.

    among: campaigns that may be named, because whoever launches may see them.
    Raises StartError, and ValueError for a recipe of the environment that cannot be read.
    """
    if not named:
        return Start(preflight.read_recipe(spec, profile))
    campaign, trial = _trial(named, spec, among)
    where = f"trial {trial.number} of {campaign.slug}"
    if reproducible and campaign.state in LIVE_CAMPAIGN_STATES:
        raise StartError(f"{campaign.slug} is still {campaign.state}, expected one that has ended: its record may grow")
    if trial.source_id is None:
        raise StartError(f"{where} has no files on record, expected one that was run here")
    files = get_tree(trial.source_id)
    refused = preflight.check(spec, files, parent=None, surface=())
    if refused is not None:
        raise StartError(f"{where} cannot start here: {refused.reason}")
    origin = {
        "campaign": campaign.slug,
        "trial": trial.number,
        "score": trial.score,
        "source": trial.source_id,
        "up_to": campaign.last_number,
    }
    return Start(files, f"{where.capitalize()}, unchanged.", origin)


def _trial(named: str, spec: EnvironmentSpec, among: CampaignQuerySet) -> tuple[Campaign, Trial]:
    slug, _, number = named.partition(":")
    campaign = among.select_related("best_trial").filter(slug=slug).first()
    if campaign is None or campaign.environment != spec.name:
        fitting = among.filter(environment=spec.name, best_trial__isnull=False)
        known = ", ".join(fitting.values_list("slug", flat=True)[:10]) or "none"
        what = "is unknown" if campaign is None else f"is a campaign of {campaign.environment}"
        raise StartError(f"{slug[:80]!r} {what}, expected one of {known}")
    if not number:
        if campaign.best_trial is None:
            raise StartError(f"{slug} has no best trial yet, expected one whose start has been measured")
        return campaign, campaign.best_trial
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise StartError(f"{number[:40]!r} is no trial number, expected SLUG or SLUG:TRIAL")
    step = FrontierStep.objects.filter(campaign=campaign, number=int(number)).select_related("trial").first()
    if step is None:
        kept = FrontierStep.objects.filter(campaign=campaign).order_by("-number").values_list("number", flat=True)[:10]
        raise StartError(f"trial {number} of {slug} is no keep, expected one of {', '.join(map(str, kept)) or 'none'}")
    return campaign, step.trial
