"""Rows of the record written one at a time without compiling a query: what every trial needs.

Fields, their order and their conversions are those of the models; the statements are prepared (``trials.statements``).
Neither signals nor ``save`` of a model run here: the record has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models

from trials.models import Campaign, Evaluation
from trials.statements import change, columns, first, instance, rows

Model = type[models.Model]


def insert(row: models.Model) -> None:
    """Write a new row and set its primary key."""
    model = type(row)
    [(row.pk,)] = rows(f"{insertion(model)} RETURNING id", values(row, _insertable(model)))
    written(row)


def update(row: models.Model, *names: str) -> None:
    """Write some fields of a row."""
    change(_update(type(row), names), [*values(row, names), row.pk])


def campaign_of(evaluation_id: int) -> Campaign | None:
    """The campaign of a work order, locked until the end of the transaction; None when there is no such order."""
    where = "WHERE id = (SELECT campaign_id FROM trials_evaluation WHERE id = %s) FOR UPDATE"
    return first(Campaign, where, [evaluation_id])


def hold_campaign(evaluation_id: int) -> None:
    """Until the end of the transaction nobody takes the lock of the work order's campaign: whoever refers to the
    campaign's row has to wait for that lock anyway, and does it before it holds another."""
    rows(
        "SELECT id FROM trials_campaign WHERE id = (SELECT campaign_id FROM trials_evaluation WHERE id = %s) "
        "FOR KEY SHARE",
        [evaluation_id],
    )


def move(evaluation_id: int, to: str, provided: str, *given: object) -> Evaluation | None:
    """A work order after a conditional update; None when the condition does not hold, which is a normal answer.

    to, provided: right sides of SET and WHERE, with a placeholder for each of ``given``.
    """
    sql = f"UPDATE trials_evaluation SET {to} WHERE {provided} AND id = %s RETURNING {columns(Evaluation)}"  # noqa: S608
    found = rows(sql, [*given, evaluation_id])
    return instance(Evaluation, found[0]) if found else None


@cache
def insertion(model: Model) -> str:
    """INSERT of a whole row, without RETURNING."""
    fields = [_field(model, name).column for name in _insertable(model)]
    places = ", ".join(["%s"] * len(fields))
    return f"INSERT INTO {model._meta.db_table} ({', '.join(fields)}) VALUES ({places})"  # noqa: S608 - names of columns


@cache
def assignments(model: Model, names: Sequence[str]) -> str:
    """Fields as the right side of SET."""
    return ", ".join(f"{_field(model, name).column} = %s" for name in names)


def values(row: models.Model, names: Sequence[str] = ()) -> list[Any]:
    """Fields of a row as the database takes them; all but the primary key when none are named."""
    model = type(row)
    fields = [_field(model, name) for name in names or _insertable(model)]
    database = connections[DEFAULT_DB_ALIAS]  # looked up once: the proxy looks it up for every field
    return [field.get_db_prep_save(getattr(row, field.attname), database) for field in fields]


def written(row: models.Model) -> None:
    """Note on a new row that it is in the database."""
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


@cache
def _field(model: Model, name: str) -> Any:
    return model._meta.get_field(name)


@cache
def _insertable(model: Model) -> tuple[str, ...]:
    return tuple(field.name for field in model._meta.concrete_fields if not field.primary_key)


@cache
def _update(model: Model, names: Sequence[str]) -> str:
    return f"UPDATE {model._meta.db_table} SET {assignments(model, names)} WHERE id = %s"  # noqa: S608 - names of columns
