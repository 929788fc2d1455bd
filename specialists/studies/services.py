"""Launching, advancing, cancelling and resuming studies: the only writer of their rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify

from specialists import dispatch, launch, quotas
from specialists.launch import LaunchError
from specialists.models import Study, StudyCampaign
from specialists.studies.plan import (
    StudyError,
    StudySettings,
    changed_since,
    default_name,
    launch_settings,
    make_plan,
)
from specialists.studies.standing import Place, group_name, places
from specialists.vocab import StudyState
from trials import live
from trials.canonical import sha256_of
from trials.commits import after_commit
from trials.services import maintenance
from trials.services.campaigns import SLUG_LENGTH, WrongState
from trials.services.events import append_site_event
from trials.vocab import SiteEventKind

logger = logging.getLogger(__name__)
ACTOR = "studies"
NAME_LENGTH = 120


def launch_study(chosen: StudySettings, *, actor: str, user: User | None = None) -> Study:
    """A new study or, where one of this name was planned exactly so, that study, which goes on.

    Raises StudyError: a setting that cannot be used, or a study of this name with another plan.
    """
    plan = make_plan(chosen)
    name = (chosen.name or default_name(plan))[:NAME_LENGTH]
    slug = slugify(name)[:SLUG_LENGTH]
    if not slug:
        raise StudyError("name", f"{name!r} has no letter or digit, expected some")
    if not Study.objects.filter(slug=slug).exists():
        try:
            return _create(slug, name, plan, chosen.parallel, actor, user)
        except IntegrityError:  # another process was first
            logger.info("study %s was launched elsewhere at the same moment", slug)
    return _go_on(slug, plan, chosen.parallel, actor)


@transaction.atomic
def _create(slug: str, name: str, plan: Mapping[str, Any], parallel: int, actor: str, user: User | None) -> Study:
    study = Study.objects.create(
        slug=slug,
        name=name,
        created_by=user,
        created_at=timezone.now(),
        plan=plan,
        plan_sha256=sha256_of(plan),
        parallel=parallel,
        changes=1,
    )
    payload = {"study": slug, "name": name, "plan": plan, "plan_sha256": study.plan_sha256, "parallel": parallel}
    append_site_event(SiteEventKind.STUDY_LAUNCHED, actor, payload)
    after_commit(dispatch.study, study.pk)
    return study


def _go_on(slug: str, plan: Mapping[str, Any], parallel: int, actor: str) -> Study:
    study = Study.objects.get(slug=slug)
    if study.plan_sha256 != sha256_of(plan):
        names = sorted(key for key in plan if plan[key] != study.plan.get(key))
        raise StudyError("name", f"study {slug} was planned with another {', '.join(names)}, expected another name")
    return resume_study(study, actor=actor, parallel=parallel)


@transaction.atomic
def resume_study(study: Study, *, actor: str, parallel: int | None = None) -> Study:
    """Go on with what is missing: places without a campaign, and those whose campaign was stopped or failed.

    A study that is complete stays as it is; one that runs is only asked to look again.
    """
    locked: Study = Study.objects.select_for_update().get(pk=study.pk)
    if parallel is not None and parallel != locked.parallel:
        locked.parallel = parallel
        locked.save(update_fields=["parallel"])
    found = places(locked)
    if locked.state != StudyState.RUNNING and any(not place.complete for place in found):
        if any(place.broken for place in found):
            locked.attempts += 1
        _change_state(locked, StudyState.RUNNING, actor, "")
    after_commit(dispatch.study, locked.pk)
    return locked


@transaction.atomic
def cancel_study(study: Study, *, actor: str) -> Study:
    """Launch nothing further and stop what runs. Finished campaigns stay; the study may be resumed. Raises
    StudyError."""
    locked: Study = Study.objects.select_for_update().get(pk=study.pk)
    if locked.state != StudyState.RUNNING:
        raise StudyError("study", f"{locked.slug} is {locked.state}, expected one that runs")
    for place in places(locked):
        if place.campaign is not None and place.live:
            try:
                launch.stop(place.campaign, actor=actor)
            except WrongState:  # it ended meanwhile
                logger.info("campaign %s of study %s has ended by itself", place.campaign.slug, locked.slug)
    _change_state(locked, StudyState.CANCELLED, actor, f"cancelled by {actor}")
    return locked


def _change_state(study: Study, to: StudyState, actor: str, reason: str) -> None:
    """Of a locked study. What its campaigns came to is bound into the site's chain by the heads of their own."""
    before, study.state, study.state_reason = study.state, to, reason[:300]
    study.finished_at = None if to == StudyState.RUNNING else timezone.now()
    study.changes += 1
    study.save(update_fields=["state", "state_reason", "finished_at", "attempts", "changes"])
    heads = [
        {"arm": place.arm, "repeat": place.repeat, "campaign": place.campaign.slug, "state": place.campaign.state,
         "seq": place.campaign.last_seq, "head": place.campaign.head_sha256}
        for place in places(study) if place.campaign is not None
    ]  # fmt: skip
    payload = {"study": study.slug, "from": before, "to": to, "reason": study.state_reason, "campaigns": heads}
    append_site_event(SiteEventKind.STUDY_STATE, actor, payload)
    _publish(study)


def _publish(study: Study) -> None:
    after_commit(live.push, group_name(study.slug), {"type": "changed"})


def advance(study_id: int) -> None:
    """Launch campaigns while there is room, and end the study when all have ended."""
    while _step(study_id):
        pass


@transaction.atomic
def _step(study_id: int) -> bool:
    """One decision under the study's lock; True when another may follow at once."""
    study: Study = Study.objects.select_for_update().get(pk=study_id)
    if study.state != StudyState.RUNNING:
        return False
    found = places(study)
    running = sum(place.live for place in found)
    missing = next((place for place in found if place.wanted), None)
    if missing is None:
        if not running:
            _finish(study, found)
        return False
    if running >= study.parallel or (isinstance(study.created_by, User) and quotas.full(study.created_by)):
        return False
    if maintenance.current() is not None:
        return False
    try:
        with transaction.atomic():
            _launch_next(study, missing)
    except (LaunchError, ValueError, OSError) as error:
        _change_state(study, StudyState.FAILED, ACTOR, f"{missing.arm}, repeat {missing.repeat}: {error}")
        return False
    return True


def _launch_next(study: Study, place: Place) -> None:
    changed = changed_since(study.plan)
    if changed:
        raise StudyError("environment", changed)
    name = f"{study.name[:70]} {place.arm[:30]} {place.repeat + 1}"
    chosen = launch_settings(study.plan, place.arm, place.repeat, name=name)
    campaign = launch.launch_campaign(chosen, actor=f"{ACTOR}:{study.slug}"[:150], user=study.created_by)
    StudyCampaign.objects.create(
        study=study, campaign=campaign, arm=place.arm, repeat=place.repeat, attempt=study.attempts
    )
    study.changes += 1
    study.save(update_fields=["changes"])
    payload = {
        "study": study.slug,
        "arm": place.arm,
        "repeat": place.repeat,
        "attempt": study.attempts,
        "campaign": campaign.slug,
        "seed": campaign.seed,
    }
    append_site_event(SiteEventKind.STUDY_CAMPAIGN, ACTOR, payload)
    _publish(study)


def _finish(study: Study, found: list[Place]) -> None:
    short = [place for place in found if not place.complete]
    reason = f"{len(short)} of {len(found)} campaigns did not finish" if short else ""
    _change_state(study, StudyState.FINISHED, ACTOR, reason)
    after_commit(dispatch.study_report, study.pk)


def campaign_ended(campaign_id: int) -> None:
    """Look after the study of a campaign that has ended, where it has one."""
    member = StudyCampaign.objects.filter(campaign=campaign_id).first()
    if member is not None:
        advance(member.study_id)


def tick() -> None:
    """Whatever a lost message left behind: every study that runs is looked at."""
    for pk in Study.objects.filter(state=StudyState.RUNNING).values_list("pk", flat=True):
        advance(pk)
