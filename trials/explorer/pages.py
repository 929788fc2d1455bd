"""Frontier, failures, roles, throughput: pages around plots that the server has reduced."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import condition, require_safe

from trials import analytics, charts
from trials.access import access_campaign, campaign_of
from trials.explorer import figures, plots
from trials.explorer.table_views import roles_of
from trials.live import campaign_head
from trials.models import Campaign, CampaignReport
from trials.report import VERSION
from trials.vocab import FAILED_LABELS, LIVE_CAMPAIGN_STATES, KeepRule, Label

Body = dict[str, Any]


def _role(request: HttpRequest, campaign: Campaign) -> str:
    """The role that the address names; empty for all. Raises Http404 for one that the campaign does not have."""
    role = request.GET.get("role", "")
    if role and role not in roles_of(campaign):
        raise Http404(f"campaign {campaign.slug!r} has no role {role[:60]!r}")
    return role


def _frontier(campaign: Campaign, axis: str) -> Body:
    found = figures.plane(campaign, axis)
    last = float(max(campaign.last_number, 0)) if axis == "trial" else _hours(campaign)
    keep = "keep, confirmed" if campaign.keep_rule == KeepRule.VERIFIED else "keep"
    figure = plots.frontier(found, axis, last, campaign.direction, campaign.noise_sd, keep)
    note = ""
    if found.density is not None:
        note = f"all {found.density.trials:,} scores as shades; improvements and the newest {figures.NEWEST} as points"
    return {"figure": figure, "table": plots.frontier_table(found), "note": note}


def _hours(campaign: Campaign) -> float:
    """Since launch, until the last record."""
    if campaign.last_recorded_at is None:
        return 0.0
    return (campaign.last_recorded_at - campaign.created_at).total_seconds() / 3600


def _front(campaign: Campaign, axis: str) -> Body:
    rows = figures.front(campaign, axis)
    figure = plots.front(rows, axis, campaign.start_score)
    return {"figure": figure, "table": plots.front_table(rows, axis), "note": ""}


def _outcomes(campaign: Campaign, role: str) -> Body:
    rows = figures.outcomes(campaign, role)
    return {"figure": plots.outcomes(rows), "table": plots.outcomes_table(rows), "note": ""}


def _misses(campaign: Campaign) -> Body:
    levels = figures.miss_levels(campaign)
    return {"figure": plots.misses(levels), "table": plots.misses_table(levels), "note": ""}


def _failed_roles(campaign: Campaign) -> Body:
    profiles = analytics.roles(campaign)
    return {"figure": charts.roles(profiles), "table": charts.roles_table(profiles), "note": ""}


def _throughput(campaign: Campaign, role: str) -> Body:
    bins = analytics.throughput(campaign, role)
    shares = figures.efficiency(bins, campaign.slots)
    note = "the last bar is not over yet" if campaign.state in LIVE_CAMPAIGN_STATES and bins else ""
    return {"figure": plots.throughput(bins, shares), "table": plots.throughput_table(bins, shares), "note": note}


PLOTS: dict[str, Callable[[Campaign, str], Body]] = {
    "frontier": lambda campaign, role: _frontier(campaign, "trial"),
    "frontier-time": lambda campaign, role: _frontier(campaign, "time"),
    "front-bytes": lambda campaign, role: _front(campaign, "bytes"),
    "front-usd": lambda campaign, role: _front(campaign, "usd"),
    "front-seconds": lambda campaign, role: _front(campaign, "seconds"),
    "outcomes": _outcomes,
    "misses": lambda campaign, role: _misses(campaign),
    "labels-by-role": lambda campaign, role: _failed_roles(campaign),
    "throughput": _throughput,
}


def _etag(request: HttpRequest, slug: str, name: str) -> str:
    campaign = campaign_of(request, slug)
    return f'"{name}.{_role(request, campaign)}.{campaign.last_seq}"'.encode("ascii", "backslashreplace").decode()


@require_safe
@condition(etag_func=_etag)
def plot(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One plot as JSON: Plotly figure, the same numbers as a table, a note on what was reduced. ``?role=`` for one."""
    campaign = campaign_of(request, slug)
    if name not in PLOTS:
        raise Http404(f"there is no plot {name!r}, expected one of {', '.join(PLOTS)}")
    body = PLOTS[name](campaign, _role(request, campaign))
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return HttpResponse(text, content_type="application/json", headers={"Cache-Control": "private, no-cache"})


def _plot(campaign: Campaign, name: str, title: str, about: str = "", waiting: str = "", role: str = "") -> Body:
    """What the template of a plot needs."""
    query = f"?{urlencode({'role': role})}" if role else ""
    return {
        "name": name,
        "title": title,
        "about": about,
        "waiting": waiting or "No trial has finished yet.",
        "url": reverse("trials:plot", args=[campaign.slug, name]) + query,
    }


def _context(campaign: Campaign, title: str, plots: list[Body], **more: Any) -> Body:
    return {"campaign": campaign, "head": campaign_head(campaign), "title": title, "plots": plots, **more}


@require_safe
def frontier(request: HttpRequest, slug: str) -> HttpResponse:
    """Score over trials and over time, and the fronts of score against size and time."""
    campaign = access_campaign(request.user, slug)
    told = f"{campaign.score_name}, {campaign.direction} is better"
    none = "No trial has a score yet."
    shown = [
        _plot(campaign, "frontier", "Score by trial", told, none),
        _plot(campaign, "frontier-time", "Score by time", told, none),
        _plot(campaign, "front-bytes", "Score against size", "trials that no other beats in both", none),
        _plot(campaign, "front-seconds", "Score against seconds", "trials that no other beats in both", none),
    ]
    if campaign.agent:
        unpriced = "No trial with a score has a price: it is not known, or the models are one's own."
        shown.append(_plot(campaign, "front-usd", "Score against money", "what the proposal's session paid", unpriced))
    return render(request, "trials/explorer/frontier.html", _context(campaign, "Frontier", shown))


@require_safe
def failures(request: HttpRequest, slug: str) -> HttpResponse:
    """What went wrong, when, why, by whom and by how much; and which failed ideas came closest. ``?role=`` for one."""
    campaign = access_campaign(request.user, slug)
    role = _role(request, campaign)
    shown = [
        _plot(campaign, "outcomes", "Outcomes over time", "finished trials by what they count as", role=role),
        _plot(campaign, "labels-by-role", "Outcomes by role", "the whole search"),
        _plot(campaign, "misses", "How far beyond the limit", "all roles; as a share of the limit",
              "No trial missed a limit by a known margin."),
    ]  # fmt: skip
    context = _context(
        campaign,
        "Failures",
        shown,
        role=role,
        roles=roles_of(campaign),
        labels=_failure_counts(campaign, role),
        reasons=figures.reasons(campaign),
        nearest=figures.nearest(campaign, role=role),
        nearest_scores=figures.nearest_scores(campaign, role),
    )
    return render(request, "trials/explorer/failures.html", context)


def _failure_counts(campaign: Campaign, role: str) -> list[tuple[str, int]]:
    """Failures by label, of one role or of all, most frequent first."""
    counts = dict.fromkeys(FAILED_LABELS, 0)
    for cell in analytics.whole_cells(campaign):
        label = Label(cell.label)
        if label in counts and role in ("", cell.role):
            counts[label] += cell.trials
    return sorted(((str(label), count) for label, count in counts.items() if count), key=lambda row: (-row[1], row[0]))


@require_safe
def throughput(request: HttpRequest, slug: str) -> HttpResponse:
    """Trials per hour, efficiency, and where the seconds go. ``?role=`` for one."""
    campaign = access_campaign(request.user, slug)
    role = _role(request, campaign)
    bins = analytics.throughput(campaign, role)
    sums = {phase: sum(row.seconds[phase] for row in bins) for phase in analytics.SECONDS}
    trials = sum(row.trials for row in bins)
    context = _context(
        campaign,
        "Throughput",
        [_plot(campaign, "throughput", "Throughput", "of this role" if role else "", role=role)],
        role=role,
        roles=roles_of(campaign),
        trials=trials,
        sums=[(phase, total, total / trials if trials else None) for phase, total in sums.items()],
        split=charts.time_split(sums),
        efficiency=_whole_efficiency(campaign, sums),
    )
    return render(request, "trials/explorer/throughput.html", context)


def _whole_efficiency(campaign: Campaign, sums: dict[str, float]) -> float | None:
    """Share of the slots' time from launch to the last record that was spent in run, eval and log."""
    available = _hours(campaign) * 3600 * campaign.slots
    return sum(sums[phase] for phase in ("run", "eval", "log")) / available if available else None


@require_safe
def roles(request: HttpRequest, slug: str) -> HttpResponse:
    """What each role owns, what became of its trials, what they cost, and on whose work it builds."""
    campaign = access_campaign(request.user, slug)
    found = figures.roles(campaign)
    context = _context(
        campaign,
        "Roles",
        [_plot(campaign, "labels-by-role", "Outcomes by role")],
        rows=found,
        most=max((row.profile.machine_seconds for row in found), default=0.0),
        matrix=_matrix(found),
        diversity=_diversity(campaign, found),
    )
    return render(request, "trials/explorer/roles.html", context)


def _diversity(campaign: Campaign, found: list[figures.Role]) -> Body:
    """How different each role's ideas are, as of the newest report; ``rows`` are empty before there is one."""
    stored = CampaignReport.objects.filter(campaign=campaign, seq__gt=0, version=VERSION)
    told = stored.values_list("seq", "body__diversity_by_role").first()
    if told is None:
        return {"rows": []}
    seq, by_role = told
    rows = [(row.profile.role, by_role[row.profile.role]) for row in found if row.profile.role in by_role]
    return {"rows": rows, "older": seq < campaign.last_seq}


def _matrix(found: list[figures.Role]) -> Body:
    """Keeps by the role of their parent, in the order of the roster, then whatever else is a parent."""
    names = [row.profile.role for row in found]
    parents = list(dict.fromkeys([*names, *(name for row in found for name in row.parents)]))
    parents = [name for name in parents if any(row.parents.get(name) for row in found)]
    return {
        "parents": parents,
        "rows": [
            (row.profile.role, [row.parents.get(name, (0, 0)) for name in parents]) for row in found if row.parents
        ],
    }
