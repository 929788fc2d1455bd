"""What must be true of the record at every moment, whatever died: checked by reading alone.

``check_campaign`` yields one ``Violation`` for each thing that is not so; nothing is repaired and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from trials.invariants.beside import check_beside
from trials.invariants.ledger import read_ledger
from trials.invariants.orders import check_orders
from trials.invariants.sums import check_sums
from trials.invariants.trials import check_counters, check_trials
from trials.invariants.violation import Violation
from trials.models import Campaign

__all__ = ["Violation", "check_campaign", "snapshot"]


@contextmanager
def snapshot() -> Iterator[None]:
    """One consistent view of the database until the end of the block, in which nothing can be written.

    Must be the outermost transaction.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def check_campaign(campaign: Campaign) -> Iterator[Violation]:
    """Every violation in the record of one campaign. Reads each of its rows once; the caller gives it one view."""
    told, broken = read_ledger(campaign)
    yield from broken
    if not campaign.is_released_run and campaign.bundle is None:  # those are checked against their own files
        yield from check_trials(campaign, told)
        yield from check_counters(campaign, told)
        yield from check_orders(campaign, told)
        yield from check_beside(campaign, told)
    yield from check_sums(campaign)
