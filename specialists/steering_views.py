"""Launching and steering from the pages: the same checks and words as in the admin, each behind a confirmation."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from specialists import launch
from specialists.forms import LaunchForm
from trials.access import access_campaign, may_launch, may_steer
from trials.services.campaigns import WrongState


@require_POST
def steer(request: HttpRequest, slug: str, verb: str) -> HttpResponse:
    """Pause, resume or stop a campaign; says so, or why not, on its page."""
    campaign = access_campaign(request.user, slug)
    who = request.user.get_username()
    if not may_steer(request.user, campaign):
        raise PermissionDenied(f"{who} may not steer {campaign.name}")
    try:
        changed = launch.STEERING[verb](campaign, actor=who)
    except WrongState as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{changed.name}: {changed.state}")
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
