"""The record's clock is that of the database: hosts disagree, and theirs may be set while they work.

A lease that one host writes and another reads, an hour in the sums, the order of events: all are told by one clock.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connection


def now() -> datetime:
    """The database's time at this moment (not that of the transaction's begin), with its zone."""
    return _asked("SELECT clock_timestamp()")


def serving_since() -> datetime:
    """When the database was started: before that nobody could renew a lease."""
    return _asked("SELECT pg_postmaster_start_time()")


def _asked(question: str) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(question)
        [(answer,)] = cursor.fetchall()
    assert isinstance(answer, datetime)
    return answer
