"""Every roster that a launch may name: the built-in ones, then those that were made here."""

from __future__ import annotations

from django.db.models import QuerySet

from evaluators.contract import EnvironmentSpec
from specialists.models import StoredRoster
from specialists.rosters import TITLES, Roster, rosters_for


def rosters_of(spec: EnvironmentSpec) -> dict[str, Roster]:
    """Rosters that fit an environment, by name, the default first."""
    return rosters_for(spec) | {stored.name: stored.as_roster() for stored in _stored(spec)}


def find_roster(spec: EnvironmentSpec, name: str) -> Roster | None:
    """One of them; an empty name is the default."""
    fitting = rosters_for(spec)
    if not name or name in fitting:
        return fitting[name or next(iter(fitting))]
    stored = _stored(spec).filter(name=name).first()
    return None if stored is None else stored.as_roster()


def titles() -> dict[str, str]:
    """Name -> title of every roster, whatever it is for."""
    return TITLES | dict(StoredRoster.objects.values_list("name", "title"))


def _stored(spec: EnvironmentSpec) -> QuerySet[StoredRoster]:
    return StoredRoster.objects.filter(environment=spec.name).prefetch_related("roles")
