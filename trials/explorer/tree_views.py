"""The lineage page and the pieces that it asks for: a stretch of the line, what was built on a trial, one edit."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from trials import trial_page
from trials.access import access_campaign, access_trial
from trials.explorer import ask as asking
from trials.explorer import columns, tree
from trials.explorer.table_views import roles_of
from trials.explorer.tree import Choice, Gap, Node
from trials.formatting import words
from trials.live import campaign_head
from trials.models import Campaign, Trial

LONGEST = 9  # digits of a number


def _whole(request: HttpRequest, name: str) -> int | None:
    """A whole number of the address; None where there is none, or something else."""
    value = request.GET.get(name, "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= LONGEST else None


def _choice(request: HttpRequest, campaign: Campaign) -> Choice:
    """What is asked of neighbours. Raises Http404 for a role or a label that is not there."""
    role, standing = request.GET.get("role", ""), request.GET.get("standing", "")
    if role and role not in roles_of(campaign):
        raise Http404(f"campaign {campaign.slug!r} has no role {role[:60]!r}")
    if standing and standing not in asking.LABELS:
        raise Http404(f"there is no label {standing[:40]!r}")
    return Choice(role, standing)


def _query(choice: Choice) -> str:
    """The choice as the end of an address that has a question mark already."""
    told = {name: value for name, value in (("role", choice.role), ("standing", choice.standing)) if value}
    return f"&{urlencode(told)}" if told else ""


def _shared(campaign: Campaign, choice: Choice) -> dict[str, Any]:
    """What every piece of the tree needs."""
    return {"campaign": campaign, "choice": choice, "query": _query(choice), "base": campaign.get_absolute_url(),
            "counted": tree.COUNTED, "window": tree.WINDOW}  # fmt: skip


def _asked_trial(campaign: Campaign, number: int | None) -> Trial | None:
    """The named trial, else the best, else the start; None for a number that is not there and before the start."""
    if number is None:
        number = 0 if campaign.best_trial is None else campaign.best_trial.number
    return Trial.objects.of(campaign.pk).filter(number=number).first()


@require_safe
def lineage(request: HttpRequest, slug: str) -> HttpResponse:
    """The line from the start to ``?trial=`` (default: the best) and what was built beside it.

    ``?at=DEPTH`` shows a stretch of the line from that depth on; ``?role=``, ``?standing=`` choose among neighbours.
    """
    campaign = access_campaign(request.user, slug)
    choice, asked = _choice(request, campaign), _whole(request, "trial")
    trial = _asked_trial(campaign, asked)
    labels = {"": "anything"} | {name: words(name) for name in asking.LABELS}
    roles = {"": "any"} | {name: words(name) for name in roles_of(campaign)}
    context = _shared(campaign, choice) | {
        "title": "Lineage",
        "head": campaign_head(campaign),
        "asked": "" if asked is None else asked,
        "missing": asked is not None and trial is None,
        "trial": trial,
        "options": {
            "role": columns.options_html(roles, choice.role),
            "standing": columns.options_html(labels, choice.standing),
        },
    }
    if trial is not None:
        page = tree.children(campaign, trial, choice, after=None, without=None)
        context |= {"focus": trial.number, "page": page, "parent": trial.number}
        context |= _line(tree.line(campaign, trial, _whole(request, "at")))
    return render(request, "trials/explorer/lineage.html", context)


def _line(parts: list[tree.Part]) -> dict[str, Any]:
    """Rows of a line: of every node the next one, and how many others were built on it."""
    rows: list[dict[str, Any]] = []
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(part, Gap):
            rows.append({"gap": part})
        else:
            following = after.number if isinstance(after, Node) else None
            known = following is not None and part.children <= tree.COUNTED
            rows.append({"node": part, "next": following, "others": part.children - known})
    return {"parts": rows}


@require_safe
def line(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The ancestors of a trial of depths ``?first=`` to ``?last=``, a window from ``?at=`` on shown."""
    trial = access_trial(request.user, slug, number)
    first, last, at = (_whole(request, name) for name in ("first", "last", "at"))
    if first is None or last is None or at is None or not first <= last <= trial.depth:
        raise Http404(f"expected first, last and at as depths from 0 to {trial.depth}")
    choice = _choice(request, trial.campaign)
    parts = tree.opened(trial.campaign, trial, Gap(first, last), at)
    context = _shared(trial.campaign, choice) | {"focus": number} | _line(parts)
    return render(request, "trials/explorer/_tree_line.html", context | {"fresh": True})


@require_safe
def children(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What was built on a trial, newest first, below number ``?after=``; without the trial ``?without=``."""
    trial = access_trial(request.user, slug, number)
    choice, after, without = _choice(request, trial.campaign), _whole(request, "after"), _whole(request, "without")
    page = tree.children(trial.campaign, trial, choice, after=after, without=without)
    context = _shared(trial.campaign, choice) | {"page": page, "parent": number, "without": without, "more": after}
    return render(request, "trials/explorer/_tree_children.html", context)


@require_safe
def edge(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The edit of one trial against its parent's source."""
    trial = access_trial(request.user, slug, number)
    context = {
        "campaign": trial.campaign,
        "trial": trial,
        "diffs": trial_page.diff_of(trial),
        "no_source": trial.parent is not None and None in (trial.source_id, trial.parent.source_id),
        "evidence": tree.evidence_of(trial),
        "base": trial.campaign.get_absolute_url(),
    }
    return render(request, "trials/explorer/_tree_edge.html", context)
