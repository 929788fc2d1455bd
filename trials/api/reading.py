"""Answers for programs that read. Every row comes through ``trials.access``; every answer is bounded."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import Http404, HttpRequest
from ninja import Query, Router

from trials import analytics
from trials.access import access_campaign, access_trial, may_launch, visible_campaigns
from trials.api import schemas
from trials.live import trial_row
from trials.models import ApiToken, Campaign, Event, Measurement, Trial
from trials.services import shares
from trials.services.blobs import get_log, get_text
from trials.services.reports import stored_report
from trials.vocab import TrialState

router = Router(tags=["read"])
DIFF_CHARACTERS = 200_000
MEASUREMENTS = 200


def campaign_out(campaign: Campaign) -> dict[str, Any]:
    """Values of ``schemas.CampaignOut``; wants ``created_by``, ``best_trial`` and ``share`` selected."""
    fields = schemas.CampaignOut.model_fields
    given = {name: getattr(campaign, name) for name in fields if hasattr(campaign, name) and name not in ("trials",)}
    return given | {
        "created_by": None if campaign.created_by is None else campaign.created_by.get_username(),
        "best_trial": None if campaign.best_trial is None else campaign.best_trial.number,
        "trials": campaign.trial_count,
        "weight": campaign.share.weight if hasattr(campaign, "share") else shares.LEAST,
        "keeps": campaign.keep_count,
        "seq": campaign.last_seq,
        "page": campaign.get_absolute_url(),
    }


@router.get("/me", response=schemas.Me)
def me(request: HttpRequest) -> dict[str, Any]:
    """Whose token this is and what it is for."""
    token: ApiToken = request.auth  # type: ignore[attr-defined]
    return {
        "user": token.user.get_username(),
        "token": token.name,
        "scopes": token.scopes,
        "expires_at": token.expires_at,
        "may_launch": may_launch(token.user),
    }


@router.get("/campaigns", response=schemas.CampaignPage)
def campaigns(request: HttpRequest, wanted: Query[schemas.CampaignsWanted]) -> dict[str, Any]:
    """Campaigns that the token's owner may see, newest first."""
    found = visible_campaigns(request.user).select_related("created_by", "best_trial", "share").order_by("-pk")
    if wanted.before is not None:
        found = found.filter(pk__lt=wanted.before)
    page = list(found[: wanted.limit + 1])
    shown = page[: wanted.limit]
    more = len(page) > wanted.limit
    return {"items": [campaign_out(each) for each in shown], "next": shown[-1].pk if more else None}


@router.get("/campaigns/{slug}", response=schemas.CampaignOut)
def campaign(request: HttpRequest, slug: str) -> dict[str, Any]:
    """One campaign."""
    return campaign_out(access_campaign(request.user, slug))


@router.get("/campaigns/{slug}/trials", response=schemas.TrialPage)
def trials(request: HttpRequest, slug: str, wanted: Query[schemas.TrialsWanted]) -> dict[str, Any]:
    """Trials by number, also those that wait or run. To follow a campaign ask for its events instead."""
    found = access_campaign(request.user, slug)
    rows = Trial.objects.of(found.pk).for_rows().filter(number__gt=wanted.after).order_by("number")
    if wanted.role:
        rows = rows.filter(role=wanted.role)
    if wanted.label:
        rows = rows.filter(standing=wanted.label)
    page = list(rows[: wanted.limit + 1])
    shown = page[: wanted.limit]
    more = len(page) > wanted.limit
    return {"items": [trial_row(row) for row in shown], "next": shown[-1].number if more else None}


@router.get("/campaigns/{slug}/trials/{int:number}", response=schemas.TrialOut)
def trial(request: HttpRequest, slug: str, number: int) -> dict[str, Any]:
    """One trial: proposal, diff, outcome, measurements."""
    found = access_trial(request.user, slug, number)
    diff = get_text(found.diff_id)
    measured = Measurement.objects.filter(trial=found).order_by("pk")[:MEASUREMENTS]
    names = ("depth", "expected_delta", "proposal", "surface", "seed", "numbers", "excerpt")
    return trial_row(found) | {name: getattr(found, name) for name in names} | {
        "source_sha256": found.source_id,
        "diff": diff[:DIFF_CHARACTERS],
        "diff_cut": len(diff) > DIFF_CHARACTERS,
        "measurements": list(measured),
        "page": found.get_absolute_url(),
    }  # fmt: skip


@router.get("/campaigns/{slug}/events", response=schemas.EventPage)
def events(request: HttpRequest, slug: str, wanted: Query[schemas.EventsWanted]) -> dict[str, Any]:
    """The ledger from an event on: every change of every trial is one, so this is how a campaign is followed."""
    found = access_campaign(request.user, slug)
    page = list(Event.objects.after(found.pk, wanted.since)[: wanted.limit + 1])
    shown = page[: wanted.limit]
    return {
        "items": [event_out(event) for event in shown],
        "next": shown[-1].seq if shown else wanted.since,
        "more": len(page) > wanted.limit,
    }


def event_out(event: Event) -> dict[str, Any]:
    """Values of ``schemas.EventOut``."""
    names = ("seq", "at", "kind", "actor", "payload", "sha256", "previous_sha256")
    row = None if event.trial is None else trial_row(event.trial)
    return {name: getattr(event, name) for name in names} | {"trial": row}


@router.get("/campaigns/{slug}/frontier", response=list[schemas.StepOut])
def frontier(request: HttpRequest, slug: str) -> list[analytics.Step]:
    """Improvements of the best score, oldest first: the line of the campaign page."""
    return analytics.frontier(access_campaign(request.user, slug))


@router.get("/campaigns/{slug}/labels", response=list[schemas.LabelOut])
def labels(request: HttpRequest, slug: str) -> list[analytics.LabelCount]:
    """How many trials ended how."""
    return analytics.labels(access_campaign(request.user, slug))


@router.get("/campaigns/{slug}/roles", response=list[schemas.RoleOut])
def roles(request: HttpRequest, slug: str) -> list[dict[str, Any]]:
    """Outcomes by role."""
    found = analytics.roles(access_campaign(request.user, slug))
    return [
        asdict(profile) | {"keep_rate": profile.keep_rate, "machine_seconds": profile.machine_seconds}
        for profile in found
    ]


@router.get("/campaigns/{slug}/throughput", response=list[schemas.HourOut])
def throughput(request: HttpRequest, slug: str) -> list[analytics.Bin]:
    """Finished trials by stretch of time since launch, with the seconds of waiting, run, scoring and record."""
    return analytics.throughput(access_campaign(request.user, slug))


@router.get("/campaigns/{slug}/report", response=dict[str, Any])
def report(request: HttpRequest, slug: str) -> dict[str, Any]:
    """The newest report that was computed (docs/report.md)."""
    stored = stored_report(access_campaign(request.user, slug))
    if stored is None:
        raise Http404(f"the report of campaign {slug!r} has not been computed yet: its page asks for one")
    body: dict[str, Any] = stored.report
    return body


@router.get("/campaigns/{slug}/trials/{int:number}/log", response=dict[str, Any])
def log(request: HttpRequest, slug: str, number: int) -> dict[str, Any]:
    """What the recipe printed. It is a stranger's text."""
    found = access_trial(request.user, slug, number)
    if found.log_id is None:
        waits = found.state != TrialState.FINISHED
        raise Http404(f"trial {number} has no log{' yet' if waits else ''}")
    text, removed_at = get_log(found.log_id)
    return {"number": number, "log": text, "removed_at": removed_at}
