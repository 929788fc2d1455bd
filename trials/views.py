"""Pages: each asks ``trials.access`` for its row, reads a bounded amount, and renders."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseGone, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import condition, require_safe
from django.views.decorators.vary import vary_on_headers

from trials import analytics, charts, live_rows, people_views, report, trial_page
from trials.access import access_campaign, access_trial, campaign_of, may_steer, visible_campaigns
from trials.checkpoints import asked_where
from trials.formatting import delta, duration
from trials.live import campaign_head, trial_row
from trials.models import Campaign, Event, Restriction, Trial
from trials.services.blobs import RemovedBlob, get_blob
from trials.telling import told
from trials.vocab import LIVE_CAMPAIGN_STATES, OPEN_TRIAL_STATES, KeepRule

CAMPAIGNS_PER_PAGE = 40
ROWS_PER_PAGE = 50


def _cursor(request: HttpRequest, name: str) -> int | None:
    """A whole number from the query string, None when it is absent. Raises Http404 when it is no number."""
    value = request.GET.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Http404(f"{name} is {value!r}, expected a whole number")
    return int(value)


@require_safe
@vary_on_headers("HX-Request")
def campaigns(request: HttpRequest) -> HttpResponse:
    """All visible campaigns, newest first; htmx asks for the list alone to keep it fresh."""
    found = visible_campaigns(request.user).select_related("created_by").order_by("-pk")
    before = _cursor(request, "before")
    if before is not None:
        found = found.filter(pk__lt=before)
    page = list(found[: CAMPAIGNS_PER_PAGE + 1])
    shown = page[:CAMPAIGNS_PER_PAGE]
    sparks = analytics.sparks(shown)
    context = {
        "cards": [_card(campaign, sparks[campaign.pk]) for campaign in shown],
        "older": shown[-1].pk if len(page) > CAMPAIGNS_PER_PAGE else None,
        "before": before,
    }
    name = "trials/_campaign_list.html" if request.headers.get("HX-Request") else "trials/campaigns.html"
    return render(request, name, context)


def _card(campaign: Campaign, steps: list[analytics.Step]) -> dict[str, Any]:
    is_live = campaign.state in LIVE_CAMPAIGN_STATES and campaign.bundle is None
    left = max(0.0, 3600 * campaign.max_hours - _elapsed(campaign)) if is_live else None
    spark = charts.sparkline(steps, campaign.last_number)
    return {"campaign": campaign, "spark": spark, "steps": len(steps), "seconds_left": left}


@require_safe
@vary_on_headers("HX-Request")
def campaign(request: HttpRequest, slug: str) -> HttpResponse:
    """One campaign, live. ``?before=N`` continues the table below trial N; htmx gets those rows alone."""
    found = access_campaign(request.user, slug)
    before = _cursor(request, "before")
    context = _window(found, before)
    if request.headers.get("HX-Request"):
        return render(request, "trials/_rows_page.html", context)
    steers = may_steer(request.user, found)
    context |= {
        "head": campaign_head(found),
        "elapsed": _elapsed(found),
        "figures": _figures(found),
        "latest": _latest(found),
        "open": {row["number"]: row["state"] for row in context["rows"] if row["state"] in OPEN_TRIAL_STATES},
        "frontier_about": _frontier_about(found),
        "asked_where": asked_where(found.checkpoints),
        "may_steer": steers,
        "restricted": steers and Restriction.objects.filter(campaign=found).exists(),
        "blank": live_rows.blank(found),
    }
    return render(request, "trials/campaign.html", context)


def _latest(found: Campaign) -> str:
    """What happened last, in words; empty before anything has."""
    event = Event.objects.after(found.pk, found.last_seq - 1).first()
    return "" if event is None else told(event, event.trial)


def _frontier_about(found: Campaign) -> str:
    told = "" if found.score_source == "evaluator" else f", read from the script's {found.score_source}"
    means = "; the line is the mean over fresh seeds" if found.keep_rule == KeepRule.VERIFIED else ""
    return f"{found.score_name} by trial, {found.direction} is better{told}{means}"


def _window(found: Campaign, before: int | None) -> dict[str, Any]:
    """A page of the trial table, newest first.

    The campaign was read before the rows, so events after its head repeat at most what the rows already show.
    """
    trials = Trial.objects.of(found.pk).for_rows()
    if before is not None:
        trials = trials.filter(number__lt=before)
    page = list(trials.newest(ROWS_PER_PAGE + 1))
    shown = page[:ROWS_PER_PAGE]
    unfinished = [trial.number for trial in shown if trial.state in OPEN_TRIAL_STATES]
    phases = analytics.phases(found, unfinished) if unfinished else {}
    rows = [trial_row(trial) for trial in shown]
    return {
        "campaign": found,
        "rows": rows,
        "lines": live_rows.rows_html(found, rows, phases),
        "older": shown[-1].number if len(page) > ROWS_PER_PAGE else None,
        "before": before,
    }


def _elapsed(found: Campaign) -> float:
    """Seconds since launch, until the end where there was one."""
    return ((found.finished_at or timezone.now()) - found.created_at).total_seconds()


@require_safe
def head(request: HttpRequest, slug: str) -> JsonResponse:
    """Counters of a campaign and the figures that no event carries; also tells a page why its socket was refused."""
    found = access_campaign(request.user, slug)
    return JsonResponse(campaign_head(found) | _figures(found))


def _figures(found: Campaign) -> dict[str, Any]:
    """Trials per hour, the scores on the sealed split once they are measured, and the end where there was one."""
    sealed = report.sealed_scores(found)
    return {
        "trials_per_hour": report.trials_per_hour(found),
        "sealed_start": sealed["start"],
        "sealed_best": sealed["best"],
        "sealed_gain": _sealed_gain(sealed),
        "finished_at": None if found.finished_at is None else found.finished_at.isoformat(),
    }


def _sealed_gain(sealed: dict[str, Any]) -> str:
    """Best less start on the sealed split in words; empty before it is measured, and where it was measured once."""
    if sealed["difference_interval"] is None:
        return ""
    low, high = (delta(end) for end in sealed["difference_interval"])
    return f"difference {delta(sealed['difference'])}, 95 % from {low} to {high}, {sealed['seeds']} seeds each"


def _frontier(found: Campaign) -> dict[str, Any]:
    points, steps = analytics.points(found), analytics.outline(found)
    sample = f"one trial in {points.every:,} and the newest {analytics.NEWEST_POINTS}" if points.every > 1 else ""
    figure = charts.frontier(points, steps, max(found.last_number, 0), found.direction)
    return {"figure": figure, "table": charts.frontier_table(steps), "note": sample}


def _labels(found: Campaign) -> dict[str, Any]:
    counts = analytics.labels(found)
    return {"figure": charts.labels(counts), "table": charts.labels_table(counts), "note": ""}


def _roles(found: Campaign) -> dict[str, Any]:
    profiles = analytics.roles(found)
    return {"figure": charts.roles(profiles), "table": charts.roles_table(profiles), "note": ""}


def _throughput(found: Campaign) -> dict[str, Any]:
    bins = analytics.throughput(found)
    notes = [f"{duration(3600 * bins[0].width)} per bar"] if bins else []
    if found.state in LIVE_CAMPAIGN_STATES and bins:
        notes.append("the last bar is not over yet")
    return {"figure": charts.throughput(bins), "table": charts.throughput_table(bins), "note": ", ".join(notes)}


CHARTS: dict[str, Callable[[Campaign], dict[str, Any]]] = {
    "frontier": _frontier,
    "labels": _labels,
    "roles": _roles,
    "throughput": _throughput,
}


def _chart_etag(request: HttpRequest, slug: str, name: str) -> str:
    found = campaign_of(request, slug)
    return f'"{name}.{found.last_seq}"'


@require_safe
@condition(etag_func=_chart_etag)
def chart(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One chart as JSON: Plotly figure, the same numbers as a table, a note on what was reduced."""
    found = campaign_of(request, slug)
    if name not in CHARTS:
        raise Http404(f"there is no chart {name!r}, expected one of {', '.join(CHARTS)}")
    body = json.dumps(CHARTS[name](found), separators=(",", ":"), allow_nan=False)
    return HttpResponse(body, content_type="application/json", headers={"Cache-Control": "private, no-cache"})


@require_safe
@vary_on_headers("HX-Request")
def trial(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """One trial: what was proposed, what was measured, what the agent saw. htmx asks for the record alone."""
    found = access_trial(request.user, slug, number)
    name = "trials/_trial_record.html" if request.headers.get("HX-Request") else "trials/trial.html"
    return render(request, name, trial_page.context(found) | people_views.around(found, request.user))


@require_safe
def trial_log(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The whole log of a trial as a text file; the sandbox bounds its size."""
    found = access_trial(request.user, slug, number)
    if found.log_id is None:
        raise Http404(f"trial {number} has no log")
    try:
        text = get_blob(found.log_id)
    except RemovedBlob as gone:
        return HttpResponseGone(f"The log of trial {number} was {gone}.\n", content_type="text/plain; charset=utf-8")
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{slug}-{number:04d}.log"'
    return response
