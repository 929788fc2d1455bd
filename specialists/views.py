"""Pages of agent sessions: what was asked, what was answered, what it cost. Bounded and escaped like the trial's."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, F, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from specialists.models import Account, Call, Session
from specialists.transcript import shown_call, shown_tail
from trials.access import access_campaign
from trials.models import Campaign
from trials.services.blobs import get_blob, get_text
from trials.trial_page import cut_middle

SESSIONS_PER_PAGE, CALLS_PER_PAGE = 60, 20
VIEW_CHARACTERS = 60_000


def _number(request: HttpRequest, name: str) -> int | None:
    """Raises Http404 for a value that is no whole number."""
    value = request.GET.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise Http404(f"{name} is {value!r}, expected a whole number")
    return int(value)


def _session(campaign: Campaign, number: int) -> Session:
    found = Session.objects.select_related("trial").filter(campaign=campaign, number=number).first()
    if found is None:
        raise Http404(f"campaign {campaign.slug!r} has no session {number}")
    return found


@require_safe
def session_list(request: HttpRequest, slug: str) -> HttpResponse:
    """Sessions of a campaign, newest first, and what each role has used."""
    campaign = access_campaign(request.user, slug)
    before = _number(request, "before")
    rows = Session.objects.filter(campaign=campaign).select_related("trial").defer("note").order_by("-number")
    rows = rows if before is None else rows.filter(number__lt=before)
    page = list(
        rows.annotate(
            requests=Count("calls"),
            tokens=Sum(F("calls__input_tokens") + F("calls__output_tokens")),
            cost=Sum("calls__cost"),
        )[: SESSIONS_PER_PAGE + 1]
    )
    shown = page[:SESSIONS_PER_PAGE]
    context = {
        "campaign": campaign,
        "sessions": shown,
        "older": shown[-1].number if len(page) > SESSIONS_PER_PAGE else None,
        "before": before,
        "accounts": Account.objects.filter(campaign=campaign).order_by("role"),
        "agent": _agent(campaign),
    }
    return render(request, "specialists/sessions.html", context)


def _agent(campaign: Campaign) -> dict[str, Any]:
    """What was fixed at launch, flat enough to be shown; empty without a language model."""
    plan = campaign.agent
    if not plan:
        return {}
    prices = plan.get("prices", {})
    return {
        "provider": plan.get("provider"),
        "models": sorted(set(plan.get("models", {}).values())),
        "budgets": plan.get("budgets", {}).items(),
        "table": f"{prices.get('source')} {prices.get('version')} of {prices.get('date')}",
        "prices": prices.get("models", {}).items(),
        "client": plan.get("client"),
    }


@require_safe
def session(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """One session: its end, its requests (``?after=N`` continues behind request N), and the evidence it was given."""
    campaign = access_campaign(request.user, slug)
    found = _session(campaign, number)
    after = _number(request, "after") or 0
    calls = Call.objects.filter(session=found)
    totals = calls.aggregate(
        requests=Count("pk"),
        input=Sum("input_tokens"),
        cache_read=Sum("cache_read_tokens"),
        cache_write=Sum("cache_write_tokens"),
        output=Sum("output_tokens"),
        cost=Sum("cost"),
        seconds=Sum("seconds"),
    )
    page = list(calls.filter(number__gt=after).order_by("number")[: CALLS_PER_PAGE + 1])
    more = len(page) > CALLS_PER_PAGE
    context = {
        "campaign": campaign,
        "session": found,
        "totals": totals,
        "models": sorted(set(calls.values_list("model", flat=True))),
        "calls": [shown_call(call) for call in page[:CALLS_PER_PAGE]],
        "more": page[CALLS_PER_PAGE - 1].number if more else None,
        "after": after,
        "tail": [] if more else shown_tail(found),
        "view": cut_middle(get_text(found.lineage_view_id), VIEW_CHARACTERS),
        "note": cut_middle(found.note, VIEW_CHARACTERS),
    }
    return render(request, "specialists/session.html", context)


@require_safe
def call_body(request: HttpRequest, slug: str, number: int, call: int) -> HttpResponse:
    """The whole of one request as JSON: what was added to the conversation and what came back."""
    found = _session(access_campaign(request.user, slug), number)
    row = Call.objects.filter(session=found, number=call).first()
    if row is None:
        raise Http404(f"session {number} has no request {call}")
    response = HttpResponse(get_blob(row.body_id), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{slug}-session-{number}-request-{call}.json"'
    return response
