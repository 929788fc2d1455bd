"""``/api/v1/``: the JSON interface put together. Programs bring a token; its OpenAPI description is open to anybody."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver
from ninja import NinjaAPI

from specialists.api import router
from trials.api.auth import Token, rate_limit

LIMIT = rate_limit()
api = NinjaAPI(
    title="Autoresearch",
    version="1",
    description="Campaigns, trials and their record as JSON. Send a token: `Authorization: Bearer art_...`.",
    docs_url=None,  # its page loads scripts from elsewhere
    auth=Token(),
    throttle=[LIMIT],
    urls_namespace="api",
)
api.add_router("", router)


@api.exception_handler(Http404)
def not_there(request: HttpRequest, error: Http404) -> HttpResponse:
    """What is missing, and what was expected."""
    return api.create_response(request, {"detail": str(error)}, status=404)


@api.exception_handler(PermissionDenied)
def refused(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    """Who is known and may not."""
    return api.create_response(request, {"detail": str(error)}, status=403)


def urls() -> tuple[list[URLPattern | URLResolver], str, str]:
    """For ``path()``. Tokens stand in for log-ins here, so nothing is sent to the log-in page."""
    patterns, app_name, namespace = api.urls
    for each in patterns:
        view: Any = each.callback
        login_not_required(view)
    return patterns, app_name, namespace
