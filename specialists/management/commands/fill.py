"""``manage.py fill SLUG --trials N``: made-up trials through the bulk loader, for tests of scale."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.text import slugify

from evaluators.registry import ENVIRONMENTS
from specialists.rosters import rosters_for
from trials.models import Campaign, Measurement, Trial
from trials.services import bulk, campaigns
from trials.synthetic import Plan, Search
from trials.vocab import CampaignState, Direction, KeepRule, LineagePolicy, Purpose

ACTOR = "fill"
MOST = 10_000_000
#: Mean seconds of a made-up trial, and what a trial takes of its slot with the pause after it.
SECONDS, OF_A_SLOT = 60.0, 1.1


class Command(BaseCommand):
    help = "Load made-up trials into a campaign of their own, for tests of scale. Nothing is measured."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="made when it does not exist; continued when it is synthetic")
        parser.add_argument("--trials", type=int, required=True)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--slots", type=int, default=10, help="how many made-up trials are in flight at a time")
        parser.add_argument("--environment", default="parameter_golf")
        parser.add_argument("--profile", default="cpu")

    def handle(self, *, slug: str, trials: int, seed: int, slots: int, **options: Any) -> None:
        _between("trials", trials, 1, MOST)
        _between("slots", slots, 1, 512)
        campaign = Campaign.objects.select_related("best_trial").filter(slug=slug).first()
        if campaign is None:
            length = timedelta(seconds=trials * SECONDS * OF_A_SLOT / slots + 3600)
            campaign = _make(slug, options["environment"], options["profile"], seed, slots, trials, length)
        else:
            _may_take(campaign)
        fresh = campaign.best_score is None
        count = trials + 1 if fresh else trials
        begun = timezone.now()

        def say(done: int) -> None:
            sys.stderr.write(f"{slug}: {done} of {count} trials, {(timezone.now() - begun).total_seconds():.0f} s\n")

        try:
            bulk.load(campaign.pk, Search(_plan(campaign, seed, slots)), count, actor=ACTOR, say=say)
        except bulk.CannotLoad as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{slug}: {trials} made-up trials, {campaign.get_absolute_url()}")


def _make(
    slug: str, environment: str, profile: str, seed: int, slots: int, trials: int, length: timedelta
) -> Campaign:  # fmt: skip
    if slug != slugify(slug) or len(slug) > campaigns.SLUG_LENGTH:
        raise CommandError(f"{slug!r} is no slug, expected lower-case letters, digits and hyphens")
    known = ENVIRONMENTS.get(environment)
    if known is None or profile not in known.spec.profiles:
        raise CommandError(f"{environment}/{profile} is unknown, expected an environment and a profile of it")
    spec = known.spec.as_json(profile) | {"synthetic": {"seed": seed}}
    roster = next(iter(rosters_for(known.spec).values()))
    plan = campaigns.CampaignPlan(
        name=f"Synthetic {slug}", environment=environment, profile=profile, spec=spec, roster=roster.name,
        roles=[role.as_json() for role in roster.roles], proposer="catalog", lineage=LineagePolicy.SHARED,
        keep_rule=KeepRule.STRICT, minimum_level="", seed=seed, reproducible=False, max_trials=MOST,
        max_hours=24.0 * 3650, slots=slots, no_improvement_hours=24.0 * 3650,
    )  # fmt: skip
    return campaigns.create_campaign(
        plan, actor=ACTOR, slug=slug, at=timezone.now() - length, ended="made up: nothing was measured"
    )


def _may_take(campaign: Campaign) -> None:
    if "synthetic" not in campaign.spec:
        raise CommandError(f"campaign {campaign.slug} is real, expected a synthetic one or a slug that is free")
    if campaign.state in (CampaignState.RUNNING, CampaignState.FINALISING):
        raise CommandError(f"campaign {campaign.slug} is {campaign.state}, expected paused or ended")


def _plan(campaign: Campaign, seed: int, slots: int) -> Plan:
    """What goes on from where the campaign stands."""
    start = Measurement.objects.filter(trial__campaign=campaign, trial__number=0, purpose=Purpose.TRIAL).first()
    surfaces = {str(role["name"]): tuple(role["surface"]) for role in campaign.roles if role["surface"]}
    return Plan(
        seed=seed,
        surfaces=surfaces,
        files=[*campaign.spec["files"], *campaign.spec.get("joins", [])],
        direction=Direction(campaign.direction),
        start=campaign.start_score if campaign.start_score is not None else 2.5,
        begins=_last_event(campaign),
        slots=slots,
        seconds=SECONDS,
        limits=campaign.spec["profile"].get("limits", {}),
        fingerprint=start.record.get("fingerprint", {}) if start is not None else {},
        first=campaign.last_number + 1,
        best=0 if campaign.best_trial is None else campaign.best_trial.number,
        best_score=campaign.best_score,
        campaign_seed=campaign.seed,
    )


def _last_event(campaign: Campaign) -> datetime:
    newest = Trial.objects.of(campaign.pk).finished().newest(1).values_list("finished_at", flat=True)
    times: list[datetime] = [campaign.created_at, *(at for at in newest if at is not None)]
    return max(times)


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise CommandError(f"{name} is {value}, expected {low} to {high}")
