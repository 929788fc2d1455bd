"""Rows of the record written one at a time without compiling a query: what every trial needs.

Fields, their order and their conversions are those of the models; the statements are prepared (``trials.statements``).
Neither signals nor ``save`` of a model run here: the record has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models

from trials.models import Campaign
from trials.statements import Part, locked, rows

Model = type[models.Model]


def insert(row: models.Model) -> None:
    """Write a new row and set its primary key."""
    model = type(row)
    [(row.pk,)] = rows(f"{insertion(model)} RETURNING id", values(row, insertable(model)))
    written(row)


def updating(row: models.Model, *names: str) -> Part:
    """Writes some fields of a row."""
    return _update(type(row), names), [*values(row, names), row.pk]


def campaign_of(evaluation_id: int) -> Campaign | None:
    """The campaign of a work order, locked as by ``Campaign.objects.locked``; None when there is no such order."""
    where = "WHERE id = (SELECT campaign_id FROM trials_evaluation WHERE id = %s) FOR UPDATE"
    found = locked(Campaign, where, [evaluation_id])
    return None if found is None else found[0].hold(found[1])


@cache
def insertion(model: Model, **given: str) -> str:
    """INSERT of a whole row, without RETURNING. given: fields whose value is this expression, not one of ``values``."""
    names = insertable(model)
    fields = ", ".join(_field(model, name).column for name in names)
    places = ", ".join(given.get(name, "%s") for name in names)
    return f"INSERT INTO {model._meta.db_table} ({fields}) VALUES ({places})"  # noqa: S608 - names of columns


@cache
def assignments(model: Model, names: Sequence[str]) -> str:
    """Fields as the right side of SET."""
    return ", ".join(f"{_field(model, name).column} = %s" for name in names)


def values(row: models.Model, names: Sequence[str] = ()) -> list[Any]:
    """Fields of a row as the database takes them; all but the primary key when none are named."""
    model = type(row)
    fields = [_field(model, name) for name in names or insertable(model)]
    database = connections[DEFAULT_DB_ALIAS]  # looked up once: the proxy looks it up for every field
    return [field.get_db_prep_save(getattr(row, field.attname), database) for field in fields]


def written(row: models.Model) -> None:
    """Note on a new row that it is in the database."""
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


@cache
def _field(model: Model, name: str) -> Any:
    return model._meta.get_field(name)


@cache
def insertable(model: Model) -> tuple[str, ...]:
    """Names of the fields that a new row is written with."""
    return tuple(field.name for field in model._meta.concrete_fields if not field.primary_key)


@cache
def _update(model: Model, names: Sequence[str]) -> str:
    return f"UPDATE {model._meta.db_table} SET {assignments(model, names)} WHERE id = %s"  # noqa: S608 - names of columns
