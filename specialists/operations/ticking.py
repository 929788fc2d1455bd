"""When the periodic tick last ran: without it nothing that was lost is found again."""

from __future__ import annotations

import logging
import time

from django.core.cache import cache

logger = logging.getLogger(__name__)
KEY = "operations.tick"
LATE_SECONDS = 60.0
"""The tick is due every 5 s; after so much silence something has to be started."""


def ticked() -> None:
    """Note that the tick ran. Never raises: a cache that is away is no reason to leave work lying."""
    try:
        cache.set(KEY, time.time(), None)
    except Exception:
        logger.exception("the tick could not be noted")


def tick_age() -> float | None:
    """Seconds since the last tick; None when none is known, or nobody can be asked."""
    try:
        at = cache.get(KEY)
    except Exception:
        logger.exception("the last tick is not known")
        return None
    return None if at is None else max(0.0, time.time() - float(at))
