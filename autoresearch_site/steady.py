"""The beat's schedule by the monotonic clock: a wall clock that is set neither stops the ticks nor makes them race."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from celery.schedules import schedule

_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """A time that only ever goes on, at the pace of real time; its date means nothing."""
    return _BEGIN + timedelta(seconds=time.monotonic())


def every(seconds: float) -> schedule:
    """Due every so many seconds."""
    return schedule(run_every=timedelta(seconds=seconds), nowfun=now)
