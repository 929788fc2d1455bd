"""Maintenance: while it is on nothing new is begun on this site, and what runs finishes."""

from __future__ import annotations

from django.db import transaction

from trials import clock
from trials.services.events import append_site_event
from trials.site_models import Maintenance
from trials.vocab import SiteEventKind

REASON_LENGTH = 300


def current() -> Maintenance | None:
    """Who has begun it and why; None while it is off."""
    return Maintenance.objects.first()


@transaction.atomic
def begin(*, actor: str, reason: str = "") -> bool:
    """Turn it on, as a line of the site's ledger; False when it was on before."""
    values = {"actor": actor, "reason": reason[:REASON_LENGTH], "since": clock.now()}
    _, changed = Maintenance.objects.get_or_create(pk=1, defaults=values)
    if changed:
        append_site_event(SiteEventKind.MAINTENANCE, actor, {"on": True, "reason": reason[:REASON_LENGTH]})
    return changed


@transaction.atomic
def end(*, actor: str) -> bool:
    """Turn it off, as a line of the site's ledger; False when it was off before. What waits goes on by the tick."""
    changed, _ = Maintenance.objects.all().delete()
    if changed:
        append_site_event(SiteEventKind.MAINTENANCE, actor, {"on": False})
    return bool(changed)
