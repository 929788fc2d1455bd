"""Pages of studies: each asks ``study_access`` for its row, reads a bounded amount, and renders."""

from __future__ import annotations

import json

from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import condition, require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from specialists import dispatch
from specialists.models import Study
from specialists.studies import charts, page, reports
from specialists.studies.curves import hour_band, hours_shown, read_curves, trial_band
from specialists.studies.standing import by_arm, head, places, seq_of
from specialists.study_access import access_study, visible_studies
from trials.vocab import CampaignState

STUDIES_PER_PAGE = 40
BY_TRIAL, BY_HOUR = "by-trial", "by-hour"


@require_safe
@vary_on_headers("HX-Request")
def studies(request: HttpRequest) -> HttpResponse:
    """All visible studies, newest first; htmx asks for the list alone to keep it fresh."""
    before = request.GET.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise Http404(f"before is {before!r}, expected a whole number")
    found = visible_studies(request.user).select_related("created_by").order_by("-pk")
    found = found.filter(pk__lt=int(before)) if before else found
    finished = Count("members", filter=Q(members__campaign__state=CampaignState.FINISHED))
    rows = list(found.annotate(done=finished)[: STUDIES_PER_PAGE + 1])
    cards = rows[:STUDIES_PER_PAGE]
    older = cards[-1].pk if len(rows) > STUDIES_PER_PAGE else None
    name = "specialists/_study_list.html" if request.headers.get("HX-Request") else "specialists/studies.html"
    return render(request, name, {"cards": cards, "older": older, "before": before})


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def study(request: HttpRequest, slug: str) -> HttpResponse:
    """One study, live. A POST asks a worker for a fresh report; htmx asks for the figures alone."""
    found = access_study(request.user, slug)
    if request.method == "POST":
        reports.request_report(found, dispatch.study_report)
        if not request.headers.get("HX-Request"):
            return HttpResponseRedirect(found.get_absolute_url())
    name = "specialists/_study.html" if request.headers.get("HX-Request") else "specialists/study.html"
    return render(request, name, page.context(found))


@require_safe
def study_head(request: HttpRequest, slug: str) -> JsonResponse:
    """Where the study stands; also tells a page why its socket was refused."""
    return JsonResponse(head(access_study(request.user, slug)))


@require_safe
def study_json(request: HttpRequest, slug: str) -> HttpResponse:
    """The stored report, as ``manage.py study_report --json`` prints it."""
    stored = reports.stored_report(access_study(request.user, slug))
    if stored is None:
        raise Http404(f"the report of study {slug!r} has not been computed yet")
    return HttpResponse(json.dumps(stored.body), content_type="application/json")


def _chart_etag(request: HttpRequest, slug: str, name: str) -> str:
    return f'"{name}.{seq_of(access_study(request.user, slug))}"'


@require_safe
@condition(etag_func=_chart_etag)
def study_chart(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """Bands over repeats as JSON: Plotly figure, the same numbers as a table, a note."""
    found = access_study(request.user, slug)
    if name not in (BY_TRIAL, BY_HOUR):
        raise Http404(f"there is no chart {name!r}, expected {BY_TRIAL} or {BY_HOUR}")
    body = json.dumps(_chart(found, name), separators=(",", ":"), allow_nan=False)
    return HttpResponse(body, content_type="application/json", headers={"Cache-Control": "private, no-cache"})


def _chart(found: Study, name: str) -> dict[str, object]:
    own = by_arm(found, places(found))
    curves = read_curves([place.campaign for arm in own.values() for place in arm if place.campaign is not None])
    by_name = {
        arm: [curves[place.campaign.pk] for place in mine if place.campaign is not None and place.campaign.pk in curves]
        for arm, mine in own.items()
    }
    if name == BY_TRIAL:
        bands = {arm: trial_band(mine, found.plan["trials"]) for arm, mine in by_name.items()}
        figure = charts.best_so_far(bands, x_title="trial", whole=True)
        table = charts.best_so_far_table(bands, "trial", 0)
    else:
        hours = hours_shown(list(curves.values()))
        bands = {arm: hour_band(mine, hours) for arm, mine in by_name.items()}
        figure = charts.best_so_far(bands, x_title="hours since launch", whole=False)
        table = charts.best_so_far_table(bands, "hours", 3)
    return {
        "figure": figure,
        "table": table,
        "note": "median and quartiles over repeats; a search that has ended keeps its best",
    }
