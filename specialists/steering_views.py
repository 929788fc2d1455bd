"""Launching and steering from the pages: the same checks and words as in the admin, each behind a confirmation."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from specialists import launch
from specialists.forms import LaunchForm
from trials.access import access_campaign, access_trial, may_launch, may_steer
from trials.again import again
from trials.models import Campaign, Trial
from trials.services.campaigns import WrongState
from trials.services.shares import BadWeight


@require_POST
def steer(request: HttpRequest, slug: str, verb: str) -> HttpResponse:
    """Pause, resume or stop a campaign; says so, or why not, on its page."""

    def act(campaign: Campaign, who: str) -> str:
        return str(launch.STEERING[verb](campaign, actor=who).state)

    return _steer(request, slug, act)


@require_POST
def weigh(request: HttpRequest, slug: str) -> HttpResponse:
    """Give a campaign another weight; says so, or why not, on its page."""
    wanted = whole(request.POST.get("weight", ""))

    def act(campaign: Campaign, who: str) -> str:
        launch.weigh(campaign, wanted, actor=who)
        return f"weight {wanted}"

    return _steer(request, slug, act)


def whole(text: str) -> int:
    """A small number as a form has sent it; 0, which no form means, for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _steer(request: HttpRequest, slug: str, act: Callable[[Campaign, str], str]) -> HttpResponse:
    campaign = access_campaign(request.user, slug)
    who = request.user.get_username()
    if not may_steer(request.user, campaign):
        raise PermissionDenied(f"{who} may not steer {campaign.name}")
    try:
        told = act(campaign, who)
    except (WrongState, BadWeight) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{campaign.name}: {told}")
    return HttpResponseRedirect(campaign.get_absolute_url())


@require_http_methods(["GET", "HEAD", "POST"])
def launch_page(request: HttpRequest) -> HttpResponse:
    """The launch form: bad values come back with an error at their field, good ones start the campaign."""
    user = request.user
    if not (isinstance(user, User) and may_launch(user)):
        raise PermissionDenied(f"{user.get_username()} may not launch campaigns")
    form = LaunchForm(request.POST or None, user=user)
    campaign = form.launch(user)
    if campaign is not None:
        messages.success(request, f"{campaign.name} is launched.")
        return HttpResponseRedirect(campaign.get_absolute_url())
    return render(request, "specialists/launch.html", {"form": form}, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def remeasure(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """How far a trial's measurements on fresh seeds are. A POST orders ``seeds`` of them."""
    trial = access_trial(request.user, slug, number)
    if request.method != "POST":
        context = {"trial": trial, "campaign": trial.campaign, "again": again(trial)}
        context["may_steer"] = may_steer(request.user, trial.campaign)
        return render(request, "trials/_remeasure.html", context)
    wanted = whole(request.POST.get("seeds", ""))
    told = f"Trial {number} is measured again on {wanted} fresh seed{'' if wanted == 1 else 's'}."
    return _steered(request, trial, told, lambda who: launch.remeasure(trial.campaign, number, wanted, actor=who))


@require_POST
def remeasure_cancel(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """Give up what was ordered and is not measured yet."""
    trial = access_trial(request.user, slug, number)
    told = "What was not measured yet is cancelled."
    return _steered(request, trial, told, lambda who: launch.cancel_remeasure(trial.campaign, number, actor=who))


def _steered(request: HttpRequest, trial: Trial, told: str, act: Callable[[str], object]) -> HttpResponse:
    """Does something for whoever may steer, and says on the trial's page that it is done, or why not."""
    who = request.user.get_username()
    if not may_steer(request.user, trial.campaign):
        raise PermissionDenied(f"{who} may not measure trials of {trial.campaign.name} again")
    try:
        act(who)
    except (WrongState, ValueError) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, told)
    return HttpResponseRedirect(trial.get_absolute_url())
