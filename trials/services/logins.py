"""Log-ins of people who may steer the site are lines of its chain."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractUser
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver

from trials.services.events import append_site_event
from trials.vocab import SiteEventKind


@receiver(user_logged_in, dispatch_uid="trials.logged_in")
def record_login(sender: object, user: AbstractUser, **_: Any) -> None:
    """Add ``logged_in`` for staff; readers come and go unrecorded."""
    if user.is_staff:
        append_site_event(SiteEventKind.LOGGED_IN, user.get_username(), {"superuser": user.is_superuser})
