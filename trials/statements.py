"""What is asked with every trial: SQL that the database has prepared, so that neither side compiles it again.

The object-relational mapper builds the text of a query anew each time, which costs more than the query itself. What
runs a few times per trial is therefore written as SQL; everything else stays a queryset.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from psycopg.types.datetime import TimestamptzLoader

from trials.vocab import SCORED_LABELS

Row = TypeVar("Row", bound=models.Model)
Values = Mapping[str, Any] | Sequence[Any]
#: A statement with its values in order.
Part = tuple[str, Sequence[Any]]
#: A number that no trial reaches, where none is given.
LAST_NUMBER = 2**31 - 1


class _Prepared(psycopg.RawCursor[Any]):
    """A cursor whose parameters travel beside the text, which is parsed and planned once per connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection)
        # psycopg's own loader, in C: that of Django sets the zone in Python, and it is the session's, UTC, in both
        self.adapters.register_loader("timestamptz", TimestamptzLoader)

    def execute(self, query: Any, params: Any = None, **_: Any) -> _Prepared:
        text, names = _numbered(query)
        values = params if names is None or params is None else [params[name] for name in names]
        return super().execute(text, values, prepare=True)


class _Kept(threading.local):
    """A cursor for each connection: to make one takes longer than to ask a small question."""

    connection: psycopg.Connection[Any] | None = None
    cursor: _Prepared | None = None


_kept = _Kept()
_PLACE = re.compile(r"%(?:([s%])|\((\w+)\)s)")


@lru_cache(maxsize=1_000)
def _numbered(query: str) -> tuple[bytes, tuple[str, ...] | None]:
    """The text with the server's own placeholders, and the names of its values in their order, None without names:
    psycopg would look for them anew each time in a text of more than 4,096 characters."""
    places: dict[str, int] = {}

    def numbered(found: re.Match[str]) -> str:
        sign, name = found.groups()
        if sign == "%":
            return sign
        return f"${places.setdefault(name or str(len(places)), len(places) + 1)}"

    text = _PLACE.sub(numbered, query).encode()
    return text, tuple(places) if "%(" in query else None


def rows(sql: str, values: Values) -> list[tuple[Any, ...]]:
    """Rows of one statement, jsonb as text. Raises what the database module of Django raises.

    ``sql`` has placeholders %s or %(name)s and is one of few texts: what varies goes into ``values``.
    """
    return _run(sql, values).fetchall()


def change(sql: str, values: Values) -> int:
    """Run a statement without an answer; returns how many rows it changed."""
    return _run(sql, values).rowcount


def together(parts: Sequence[Part]) -> None:
    """Several statements without an answer as one. None may depend on what another of them changes."""
    *before, (last, _) = parts
    named = ", ".join(f"part{at} AS ({sql})" for at, (sql, _) in enumerate(before))
    change(f"WITH {named} {last}" if named else last, [value for _, given in parts for value in given])


def read(model: type[Row], where: str, values: Values) -> list[Row]:
    """Whole rows of a model; ``where`` is all that follows the name of its table."""
    sql = f"SELECT {columns(model)} FROM {model._meta.db_table} {where}"  # noqa: S608 - names of columns
    return [instance(model, found) for found in rows(sql, values)]


def first(model: type[Row], where: str, values: Values) -> Row | None:
    """The first of the rows, None when there is none."""
    found = read(model, where, values)
    return found[0] if found else None


def locked(model: type[Row], where: str, values: Values) -> tuple[Row, datetime] | None:
    """A row that is locked until the end of the transaction, and the database's time once it was; None without one.

    where: all that follows the name of the table, with the lock.
    """
    inner = f"SELECT {columns(model)} FROM {model._meta.db_table} {where}"  # noqa: S608 - names of columns
    # the time is asked for outside of what locks: there it would be that before the lock was waited for
    found = rows(f"SELECT held.*, clock_timestamp() FROM ({inner}) AS held", values)  # noqa: S608 - see above
    if not found:
        return None
    *row, at = found[0]
    return instance(model, row), at


@cache
def columns(model: type[models.Model], alias: str = "") -> str:
    """The columns of a model, for SELECT and RETURNING; alias: its table's name in the statement."""
    return ", ".join(f"{alias or model._meta.db_table}.{field.column}" for field in model._meta.concrete_fields)


def instances(row: Sequence[Any], *wanted: type[models.Model]) -> list[Any]:
    """Rows of several models from the values of their ``columns`` one after another; None where an outer join found
    nothing."""
    found, start = [], 0
    for model in wanted:
        end = start + len(model._meta.concrete_fields)
        values, start = row[start:end], end
        found.append(None if values[_key_place(model)] is None else instance(model, values))
    return found


@cache
def _key_place(model: type[models.Model]) -> int:
    return next(at for at, field in enumerate(model._meta.concrete_fields) if field.primary_key)


def instance(model: type[Row], values: Iterable[Any]) -> Row:
    """A row from the values of ``columns``."""
    names, converted = _readers(model)
    plain = list(values)
    for at, convert in converted:
        plain[at] = convert(plain[at], None, connection)
    return model.from_db(connection.alias, names, plain)


@cache
def _readers(model: type[models.Model]) -> tuple[list[str], list[tuple[int, Any]]]:
    """Names of the fields, and how those that need it are converted."""
    fields = model._meta.concrete_fields
    convert = [(at, field.from_db_value) for at, field in enumerate(fields) if hasattr(field, "from_db_value")]
    return [field.attname for field in fields], convert


def _run(sql: str, values: Values) -> _Prepared:
    """The cursor of this thread's connection, with the answer to the statement until the next one."""
    own: Any = connections[DEFAULT_DB_ALIAS]  # looked up once: ``connection`` asks for it with every attribute
    if own.connection is None:
        own.ensure_connection()
    if _kept.connection is not own.connection:
        _kept.connection, _kept.cursor = own.connection, _Prepared(own.connection)
    cursor = _kept.cursor
    assert cursor is not None, "made above"
    (own.make_debug_cursor if own.queries_logged else own.make_cursor)(cursor).execute(sql, values)
    return cursor


def one_of(words: Iterable[str]) -> str:
    """Words of this program's vocabulary as the right side of IN."""
    return "(" + ", ".join(f"'{word}'" for word in sorted(words)) + ")"


#: Trials that may be compared by score; see ``trials.querysets.RANKED``.
SCORED = f"label IN {one_of(SCORED_LABELS)}"
