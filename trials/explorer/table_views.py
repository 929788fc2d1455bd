"""The table of trials: filtered, sorted, searched and paged by the server, and the same as a file."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_safe
from django.views.decorators.vary import vary_on_headers

from trials import analytics
from trials.access import access_campaign
from trials.explorer import ask as asking
from trials.explorer import columns as shown
from trials.explorer.ask import Ask
from trials.explorer.rows import PAGE, among, page
from trials.explorer.words import LOOKS
from trials.formatting import words
from trials.models import Campaign
from trials.vocab import OPEN_TRIAL_STATES

LINES = 500
MOST_NUMBERS, LONGEST = 100, 9
BASELINE_ROLE = "baseline"


def roles_of(campaign: Campaign) -> list[str]:
    """Roles that a trial of the campaign may have, in the order of the roster."""
    return list(dict.fromkeys([*(str(role["name"]) for role in campaign.roles), BASELINE_ROLE]))


def read_ask(request: HttpRequest, campaign: Campaign) -> Ask:
    return asking.parse(request.GET, roles_of(campaign), tuple(shown.COLUMNS), shown.DEFAULT)


@require_safe
@vary_on_headers("HX-Request")
def trials(request: HttpRequest, slug: str) -> HttpResponse:
    """One page of trials. htmx gets the table alone, or with ``?more`` the rows that follow."""
    campaign = access_campaign(request.user, slug)
    ask = read_ask(request, campaign)
    context = _context(campaign, ask)
    fragment = bool(request.headers.get("HX-Request"))
    name = "trials/explorer/_table.html" if fragment else "trials/explorer/trials.html"
    response = render(request, name, context)
    if fragment:
        response["HX-Push-Url"] = request.path + context["here"]
    return response


def _context(campaign: Campaign, ask: Ask) -> dict[str, Any]:
    found, following = page(campaign, ask)
    columns = [shown.COLUMNS[name] for name in ask.columns]
    return {
        "campaign": campaign,
        "ask": ask,
        "rows": shown.rows_html(campaign, found, ask.columns, _phases(campaign, found)),
        "headings": [_heading(ask, column) for column in columns],
        "here": ask.address(shown.DEFAULT, after=None if ask.after is None else asking.place(*ask.after)),
        "first": ask.address(shown.DEFAULT),
        "rows_url": reverse("trials:trials-rows", args=[campaign.slug]) + ask.address(shown.DEFAULT).rstrip("?"),
        "live": PAGE if ask.sort == "newest" and ask.after is None else None,
        "page_size": PAGE,
        "looked": f"{LOOKS:,}" if following is not None and len(found) < PAGE else "",
        "next": None if following is None else ask.address(shown.DEFAULT, after=asking.place(*following)),
        "csv": ask.address(shown.DEFAULT, columns=shown.DEFAULT),
        "filters": [_filter(ask, name, value) for name, value in ask.filters.items()],
        "options": _options(campaign, ask),
        "all_columns": [(column, column.name in ask.columns) for column in shown.COLUMNS.values()],
        "sorted": asking.SORTS[ask.sort],
    }


@require_safe
def trial_rows(request: HttpRequest, slug: str) -> HttpResponse:
    """Lines of the trials ``?number=`` (MOST_NUMBERS at most) that the rest of the address asks for, and no others."""
    campaign = access_campaign(request.user, slug)
    ask = read_ask(request, campaign)
    told = request.GET.getlist("number")[:MOST_NUMBERS]
    numbers = [int(number) for number in told if number.isascii() and number.isdigit() and len(number) <= LONGEST]
    found = among(campaign, ask, numbers)
    return HttpResponse("".join(shown.rows_html(campaign, found, ask.columns, _phases(campaign, found))))


def _phases(campaign: Campaign, trials: Sequence[Any]) -> dict[int, tuple[str, float | None]]:
    unfinished = [trial.number for trial in trials if trial.state in OPEN_TRIAL_STATES]
    return analytics.phases(campaign, unfinished) if unfinished else {}


def _heading(ask: Ask, column: shown.Column) -> dict[str, Any]:
    """A column's heading; where it can be sorted by, what a click asks for: the usual order, then the other."""
    if not column.sorts:
        return {"column": column}
    usual, other = column.sorts
    wanted = other if ask.sort == usual else usual
    return {
        "column": column,
        "href": ask.address(shown.DEFAULT, sort=wanted),
        "title": asking.SORTS[wanted],
        "aria": _aria(ask.sort) if ask.sort in column.sorts else "",
    }


def _aria(sort: str) -> str:
    """``descending`` for what comes first by default; best and gain say nothing of high and low."""
    return "ascending" if sort in ("oldest", "worst", "loss") else "descending"


NAMES = {"q": "words", "low": "score from", "high": "score to"}
FIELDS = {"q": ("text", ""), "low": ("low", None), "high": ("high", None)}


def _filter(ask: Ask, name: str, value: Any) -> dict[str, str]:
    """A filter that is set, and the address without it."""
    field, empty = FIELDS.get(name, (name, ""))
    return {
        "name": NAMES.get(name, name),
        "value": str(value),
        "without": ask.address(shown.DEFAULT, **{field: empty}),
    }


def _options(campaign: Campaign, ask: Ask) -> dict[str, SafeString]:
    """Choices of the form by the field's name."""
    roles, states, labels = (
        {"": nothing} | {name: words(name) for name in names}
        for nothing, names in (
            ("any", roles_of(campaign)), ("any", asking.STATES), ("anything", asking.LABELS)
        )
    )  # fmt: skip
    return {
        "role": shown.options_html(roles, ask.role),
        "state": shown.options_html(states, ask.state),
        "label": shown.options_html(labels, ask.label),
        "standing": shown.options_html(labels, ask.standing),
        "sort": shown.options_html(asking.SORTS, ask.sort),
    }


class _Line:
    """A file for the csv module that hands every line back."""

    def write(self, text: str) -> str:
        return text


@require_GET
async def trials_csv(request: HttpRequest, slug: str) -> HttpResponseBase:
    """All trials that the address asks for, as CSV, line by line."""
    user = await request.auser()
    campaign = await sync_to_async(access_campaign)(user, slug)
    lines = _lines(campaign, read_ask(request, campaign))
    response = StreamingHttpResponse(_chunks(lines), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{campaign.slug}-trials.csv"'
    return response


def _lines(campaign: Campaign, ask: Ask) -> Iterator[str]:
    """The heading, then LINES lines at a time: a batch begins where the one before ended."""
    write = csv.writer(_Line()).writerow
    yield str(write(shown.file_header()))
    place = ask.after
    while True:
        trials, place = page(campaign, replace(ask, after=place), LINES)
        yield "".join(str(write(shown.file_row(trial))) for trial in trials)
        if place is None:
            return


async def _chunks(lines: Iterator[str]) -> AsyncIterator[bytes]:
    """Read in the request's own thread: no other page waits for it."""
    take = sync_to_async(lambda: next(lines, ""))
    while block := await take():
        yield block.encode()
