"""The page of workers and queues."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from specialists.operations import page


@require_safe
@vary_on_headers("HX-Request")
def workers(request: HttpRequest) -> HttpResponse:
    """Who runs what, what waits and why, live; htmx asks for the figures alone."""
    name = "specialists/_workers.html" if request.headers.get("HX-Request") else "specialists/workers.html"
    return render(request, name, page.context(request.user))


@require_safe
def head(request: HttpRequest) -> JsonResponse:
    """Where the page stands; also tells it why its socket was refused."""
    return JsonResponse({"seq": page.seq_of(request.user)})
