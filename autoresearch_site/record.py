"""No process serves or measures on a record that lacks committed events: it ends at its start, with one line."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from django.db import DatabaseError, connection

logger = logging.getLogger(__name__)


def stop_unless_whole() -> None:
    """Raises SystemExit where the database is older than the notes beside it, or was changed behind them.

    A database that cannot be asked (not there yet, no tables) is told of by whoever needs it. In a thread of its own:
    servers load their application within an event loop, and workers fork later.
    """
    with ThreadPoolExecutor(1) as beside:
        why = beside.submit(_why_not).result()
    if why:
        logger.critical("%s", why)
        raise SystemExit(f"error: {why}")


def _why_not() -> str:
    restores = import_module("trials.services.restores")  # needs the models, which are loaded by now
    try:
        restores.require_whole()
    except restores.RecordLost as lost:
        return str(lost)
    except DatabaseError as error:
        logger.warning("the record could not be compared with the notes outside the database: %s", error)
    finally:
        connection.close()
    return ""
