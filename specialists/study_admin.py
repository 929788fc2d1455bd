"""Launching and steering studies in the admin, by whoever may launch and steer campaigns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from specialists.models import Study
from specialists.read_only_admin import ReadOnlyAdmin
from specialists.studies import services
from specialists.studies.plan import StudyError
from specialists.study_forms import StudyForm


@admin.register(Study)
class StudyAdmin(ReadOnlyAdmin):
    """``Add`` opens the launch form; cancel and resume are actions of the list."""

    list_display = ("name", "state", "state_reason", "created_at", "created_by", "page")
    list_filter = ("state",)
    search_fields = ("name", "slug")
    actions = ("cancel", "resume")

    def has_add_permission(self, request: HttpRequest) -> bool:  # type: ignore[override]
        return request.user.has_perm("trials.add_campaign")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("trials.view_campaign") or self.has_steer_permission(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) or self.has_add_permission(request)

    def has_steer_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("trials.change_campaign")

    def get_urls(self) -> list[URLPattern]:
        launch_path = path("add/", self.admin_site.admin_view(self.launch_view), name="specialists_study_add")
        return [launch_path, *super().get_urls()]

    def launch_view(self, request: HttpRequest) -> HttpResponse:
        """The launch form: bad values come back with an error at their field, good ones start the study."""
        user = request.user
        if not (isinstance(user, User) and self.has_add_permission(request)):
            return redirect(reverse("admin:index"))
        form = StudyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                study = services.launch_study(form.chosen(), actor=user.get_username(), user=user)
            except (StudyError, ValueError, OSError) as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"{study.name} is launched")
                return HttpResponseRedirect(study.get_absolute_url())
        context = self.admin_site.each_context(request) | {"form": form, "title": "Launch a study", "opts": self.opts}
        return TemplateResponse(request, "admin/launch.html", context)

    @admin.display(description="page")
    def page(self, study: Study) -> str:
        return format_html('<a href="{}">open</a>', study.get_absolute_url())

    @admin.action(description="Cancel: its running campaigns are stopped", permissions=["steer"])
    def cancel(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        _steer(services.cancel_study, request, studies)

    @admin.action(description="Resume: what is missing is launched", permissions=["steer"])
    def resume(self, request: HttpRequest, studies: QuerySet[Study]) -> None:
        _steer(services.resume_study, request, studies)


def _steer(verb: Callable[..., Study], request: HttpRequest, studies: QuerySet[Study]) -> None:
    for study in studies:
        try:
            done = verb(study, actor=request.user.get_username())
        except StudyError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{done.name}: {done.state}")
