"""Rosters in the admin: made afresh, from a copy of another, or changed. The site's ledger has each change."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from evaluators.registry import ENVIRONMENTS
from specialists.models import StoredRole, StoredRoster
from specialists.roster_forms import RoleForm, RoleFormSet, RosterForm
from specialists.roster_store import find_roster, rosters_of
from specialists.rosters import Roster
from trials.services.events import append_site_event
from trials.vocab import SiteEventKind

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

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        _record(request, SiteEventKind.ROSTER_CHANGED, StoredRoster.objects.get(pk=form.instance.pk))

    def delete_model(self, request: HttpRequest, obj: StoredRoster) -> None:
        _record(request, SiteEventKind.ROSTER_DELETED, obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[StoredRoster]) -> None:
        for roster in queryset:
            self.delete_model(request, roster)


def _record(request: HttpRequest, kind: SiteEventKind, stored: StoredRoster) -> None:
    """The whole roster as it is from now on, or was."""
    roster = stored.as_roster()
    payload = {
        "name": roster.name,
        "title": roster.title,
        "environment": roster.environment,
        "shared": roster.shared,
        "roles": [role.as_json() for role in roster.roles],
    }
    append_site_event(kind, request.user.get_username(), payload)


def _model(request: HttpRequest) -> Roster | None:
    """The roster that the page is asked to begin with."""
    environment, _, name = request.GET.get(LIKE, "").partition("/")
    known = ENVIRONMENTS.get(environment)
    return None if known is None else find_roster(known.spec, name)
