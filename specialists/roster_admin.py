"""Rosters in the admin: made afresh, from a copy of another, or changed. Who changed what is in Django's own log."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse

from evaluators.registry import ENVIRONMENTS
from specialists.models import StoredRole, StoredRoster
from specialists.roster_forms import RoleForm, RoleFormSet, RosterForm
from specialists.roster_store import find_roster, rosters_of
from specialists.rosters import Roster

LIKE = "like"  # query parameter of the add page: ENVIRONMENT/ROSTER


class RoleInline(admin.TabularInline):  # type: ignore[type-arg]
    model = StoredRole
    form = RoleForm
    formset = RoleFormSet

    def get_extra(self, request: HttpRequest, obj: StoredRoster | None = None, **options: Any) -> int:
        model = _model(request)
        return 1 if obj is not None or model is None else len(model.roles)


@admin.register(StoredRoster)
class RosterAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The list names every roster that can be copied, the built-in ones too."""

    form = RosterForm
    inlines = (RoleInline,)
    list_display = ("name", "title", "environment", "changed_at", "changed_by")
    list_filter = ("environment",)
    change_list_template = "admin/rosters.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        offered = [
            (environment.spec.title, f"{name}/{roster.name}", roster.title)
            for name, environment in ENVIRONMENTS.items()
            for roster in rosters_of(environment.spec).values()
        ]
        return super().changelist_view(request, {**(extra_context or {}), "offered": offered})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        model = _model(request)
        if model is None:
            return {}
        name = f"my-{model.name}"[:60]
        return {"name": name, "title": model.title, "environment": model.environment, "shared": model.shared}

    def get_formset_kwargs(self, request: HttpRequest, obj: StoredRoster, inline: Any, prefix: str) -> dict[str, Any]:
        """Only a page that is shown is filled in: what comes back unchanged has to be saved all the same."""
        options: dict[str, Any] = super().get_formset_kwargs(request, obj, inline, prefix)
        model = _model(request)
        if request.method == "GET" and obj.pk is None and model is not None:
            options["initial"] = [role.as_json() for role in model.roles]
        return options

    def save_model(self, request: HttpRequest, obj: StoredRoster, form: Any, change: bool) -> None:
        obj.changed_by = request.user if isinstance(request.user, User) else None
        super().save_model(request, obj, form, change)


def _model(request: HttpRequest) -> Roster | None:
    """The roster that the page is asked to begin with."""
    environment, _, name = request.GET.get(LIKE, "").partition("/")
    known = ENVIRONMENTS.get(environment)
    return None if known is None else find_roster(known.spec, name)
