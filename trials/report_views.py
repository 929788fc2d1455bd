"""The report of a campaign as a page and as JSON, and the files that came with a released run."""

from __future__ import annotations

import json

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from trials import report_page, tasks
from trials.access import access_campaign
from trials.services import reports
from trials.services.blobs import get_blob


@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("HX-Request")
def report(request: HttpRequest, slug: str) -> HttpResponse:
    """The newest report that was computed. A POST asks a worker for a fresh one; htmx asks for the figures alone."""
    found = access_campaign(request.user, slug)
    if request.method == "POST":
        reports.request_report(found, tasks.compute_report.delay)
        if not request.headers.get("HX-Request"):
            return HttpResponseRedirect(reverse("trials:report", args=[slug]))
    name = "trials/_report.html" if request.headers.get("HX-Request") else "trials/report.html"
    return render(request, name, report_page.context(found))


@require_safe
def report_json(request: HttpRequest, slug: str) -> HttpResponse:
    """The stored report, as ``manage.py report --json`` prints it."""
    stored = reports.stored_report(access_campaign(request.user, slug))
    if stored is None:
        raise Http404(f"the report of campaign {slug!r} has not been computed yet")
    return HttpResponse(json.dumps(stored.report), content_type="application/json")


@require_safe
def trace_file(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """A file of a released run, byte by byte, as a download: its text is a stranger's."""
    found = access_campaign(request.user, slug)
    file = found.spec.get("trace", {}).get("files", {}).get(name)
    if file is None:
        raise Http404(f"campaign {slug!r} has no file {name!r}")
    response = HttpResponse(get_blob(file["sha256"]), content_type="application/octet-stream")
    response["Content-Disposition"] = "attachment"
    return response
