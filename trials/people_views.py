"""Notes, stars and who may see a campaign: small forms, each with its right, none of them a part of the ledger."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from trials.access import access_campaign, access_trial, may_note, may_steer
from trials.models import Note, Restriction, Star, Trial
from trials.services import people

VERSIONS = 20


def around(trial: Trial, user: Any) -> dict[str, Any]:
    """What people have added to a trial, for its page."""
    return {
        "note": people.current_note(trial),
        "starred": Star.objects.filter(trial=trial, user=user).exists(),
        "may_note": may_note(user),
        "may_steer": may_steer(user, trial.campaign),
    }


def _person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied("log in first")
    return request.user


@require_http_methods(["GET", "HEAD", "POST"])
def note(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The note on a trial with its versions. A POST adds one; a conflict shows both texts, and nothing is lost."""
    trial, user = access_trial(request.user, slug, number), _person(request)
    text, problem = None, ""
    if request.method == "POST":
        if not may_note(user):
            raise PermissionDenied(f"{user.get_username()} may not write notes")
        text = request.POST.get("text", "")
        after = request.POST.get("after", "")
        try:
            people.write_note(trial, text, after=int(after) if after.isascii() and after.isdigit() else -1, author=user)
        except people.NoteError as error:
            problem = str(error)
        else:
            return HttpResponseRedirect(trial.get_absolute_url())
    versions = Note.objects.filter(trial=trial).select_related("author")[: VERSIONS + 1]
    shown = list(versions)
    context = {
        "campaign": trial.campaign,
        "trial": trial,
        "versions": shown[:VERSIONS],
        "older": len(shown) > VERSIONS,
        "current": shown[0] if shown else None,
        "text": text if text is not None else (shown[0].text if shown else ""),
        "problem": problem,
        "may_note": may_note(user),
        "limit": people.NOTE_CHARACTERS,
    }
    return render(request, "trials/note.html", context, status=409 if problem else 200)


@require_POST
def star(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Star a trial (``wanted=1``) or take the star away."""
    trial = access_trial(request.user, slug, number)
    people.set_star(trial, _person(request), wanted=request.POST.get("wanted") == "1")
    return HttpResponseRedirect(trial.get_absolute_url())


@require_http_methods(["GET", "HEAD", "POST"])
def readers(request: HttpRequest, slug: str) -> HttpResponse:
    """Who may see a campaign; for whoever may steer it."""
    campaign, user = access_campaign(request.user, slug), _person(request)
    if not may_steer(user, campaign):
        raise PermissionDenied(f"{user.get_username()} may not say who sees {campaign.name}")
    problem, restriction = "", Restriction.objects.filter(campaign=campaign).first()
    names = [] if restriction is None else sorted(each.get_username() for each in restriction.readers.all())
    if request.method == "POST":
        names = request.POST.get("names", "").replace(",", " ").split()
        everybody = request.POST.get("who") == "everybody"
        try:
            people.restrict(campaign, None if everybody else names, actor=user.get_username())
        except people.UnknownPeople as error:
            problem = str(error)
        else:
            messages.success(request, "Everybody sees it now." if everybody else "Only these people see it now.")
            return HttpResponseRedirect(campaign.get_absolute_url())
    context = {"campaign": campaign, "restricted": restriction is not None, "names": names, "problem": problem}
    return render(request, "trials/readers.html", context, status=422 if problem else 200)
