"""Writes that may not be lost because the database is away for a moment."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
PATIENCE = 900.0


def until_answered(write: Callable[[], Answer], what: str, within: float = PATIENCE) -> Answer:
    """Do ``write`` again, with growing pauses, until the database answers.

    It must change nothing when it is repeated: a commit whose answer was lost is done. Raises the last error after
    ``within`` seconds, and at once inside of a transaction, which is the caller's to repeat.
    """
    deadline, pause = time.monotonic() + within, FIRST_PAUSE
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or time.monotonic() + pause > deadline:
                raise
            logger.warning("%s: the database does not answer (%s), again in %.1f s", what, error, pause)
        connection.close()
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come back at once
        pause = min(LONGEST_PAUSE, 2 * pause)
