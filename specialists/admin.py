"""Launching and steering campaigns in the admin. The record itself is read-only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from specialists import decide_admin, launch
from specialists.forms import LaunchForm
from specialists.models import Session
from specialists.quota_admin import QuotaAdmin
from specialists.read_only_admin import ReadOnlyAdmin
from specialists.roster_admin import RosterAdmin
from specialists.study_admin import StudyAdmin
from trials.access import may_steer, visible_campaigns
from trials.models import Campaign
from trials.services.campaigns import WrongState
from trials.standing import waiting_for

__all__ = ["QuotaAdmin", "RosterAdmin", "StudyAdmin"]


def _steer(verb: Callable[..., Campaign], done: str, request: HttpRequest, campaigns: QuerySet[Campaign]) -> None:
    for campaign in campaigns:
        try:
            verb(campaign, actor=request.user.get_username())
        except WrongState as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{campaign.name}: {done}")


@admin.register(Campaign)
class CampaignAdmin(ReadOnlyAdmin):
    """``Add`` opens the launch form; pause, resume, stop and answer are actions of the list."""

    list_display = (
        "name",
        "state",
        "environment",
        "profile",
        "trial_count",
        "best_score",
        "score_source",
        "created_at",
        "page",
    )
    list_filter = ("state", "environment", "profile")
    search_fields = ("name", "slug")
    actions = ("pause", "resume", "stop", "decide")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        """Staff see what they see on the pages: a restricted campaign is for its readers."""
        return visible_campaigns(request.user).order_by("-pk")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("trials.add_campaign")

    def get_urls(self) -> list[URLPattern]:
        launch_path = path("add/", self.admin_site.admin_view(self.launch_view), name="trials_campaign_add")
        decide = path("<int:pk>/decide/", self.admin_site.admin_view(self.decide_view), name="trials_campaign_decide")
        return [launch_path, decide, *super().get_urls()]

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What the campaign asks a person, and the answers."""
        campaign = get_object_or_404(visible_campaigns(request.user), pk=pk)
        if not may_steer(request.user, campaign):
            raise PermissionDenied
        context = self.admin_site.each_context(request) | {"title": "Answer a campaign", "opts": self.opts}
        return decide_admin.decide(request, campaign, context)

    def launch_view(self, request: HttpRequest) -> HttpResponse:
        """The launch form: bad values come back with an error at their field, good ones start the campaign."""
        user = request.user
        if not (isinstance(user, User) and self.has_add_permission(request)):
            return redirect(reverse("admin:trials_campaign_changelist"))
        form = LaunchForm(request.POST or None, user=user)
        campaign = form.launch(user)
        if campaign is not None:
            messages.success(request, f"{campaign.name} is launched.")
            return HttpResponseRedirect(campaign.get_absolute_url())
        context = self.admin_site.each_context(request) | {
            "form": form,
            "title": "Launch a campaign",
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/launch.html", context)

    @admin.display(description="page")
    def page(self, campaign: Campaign) -> str:
        return format_html('<a href="{}">open</a>', campaign.get_absolute_url())

    @admin.action(description="Pause: nothing further starts", permissions=["steer"])
    def pause(self, request: HttpRequest, campaigns: QuerySet[Campaign]) -> None:
        _steer(launch.pause, "paused", request, campaigns)

    @admin.action(description="Resume", permissions=["steer"])
    def resume(self, request: HttpRequest, campaigns: QuerySet[Campaign]) -> None:
        _steer(launch.resume, "running", request, campaigns)

    @admin.action(description="Stop: trials in flight are cancelled", permissions=["steer"])
    def stop(self, request: HttpRequest, campaigns: QuerySet[Campaign]) -> None:
        _steer(launch.stop, "stopped", request, campaigns)

    @admin.action(description="Answer what it asks a person", permissions=["steer"])
    def decide(self, request: HttpRequest, campaigns: QuerySet[Campaign]) -> HttpResponse | None:
        asking = [campaign for campaign in campaigns if waiting_for(campaign)]
        if len(asking) == 1:
            return redirect(reverse("admin:trials_campaign_decide", args=[asking[0].pk]))
        messages.error(request, "Choose one of them." if asking else "None of them waits for a person.")
        return None

    def has_steer_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("trials.change_campaign")


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    list_display = ("campaign", "number", "role", "state", "up_to", "started_at", "ended_at")
    list_filter = ("state", "role")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        """Of campaigns that the person sees."""
        return super().get_queryset(request).filter(campaign__in=visible_campaigns(request.user))
