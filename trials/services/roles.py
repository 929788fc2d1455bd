"""Roles of people as groups: viewer, researcher, admin. A superuser needs none of them."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models.signals import post_migrate
from django.dispatch import receiver

#: Permissions of each role, ``app.codename``. Viewers need none: whoever is logged in may look.
ROLES: dict[str, tuple[str, ...]] = {
    "viewer": (),
    "researcher": ("trials.add_campaign", "trials.add_note"),
    "admin": (
        "trials.add_campaign",
        "trials.add_note",
        "trials.change_campaign",
        "trials.view_campaign",
        "trials.see_every_campaign",
    ),
}


@receiver(post_migrate, dispatch_uid="trials.people")
def make_roles(sender: AppConfig, using: str, **_: Any) -> None:
    """Make what is missing after a migration; what a site took away from a group that exists stays away."""
    if sender.name != "trials":
        return
    for name, wanted in ROLES.items():
        group, made = Group.objects.using(using).get_or_create(name=name)
        if made:
            group.permissions.set([_permission(each, using) for each in wanted])


def _permission(wanted: str, using: str) -> Permission:
    """The permission of that name; Django's own receiver may not have made it yet."""
    app, codename = wanted.split(".")
    found = Permission.objects.using(using).filter(content_type__app_label=app, codename=codename).first()
    if found is None:
        model = "restriction" if codename == "see_every_campaign" else codename.split("_")[1]
        kind = ContentType.objects.db_manager(using).get_or_create(app_label=app, model=model)[0]
        found = Permission.objects.using(using).create(content_type=kind, codename=codename, name=codename)
    return found
