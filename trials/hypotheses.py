"""Where a hypothesis is looked up by what it shares with others: keys of trials.sketch, newest trials first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connections, models

_NEWEST = """
SELECT DISTINCT found.number FROM unnest(%s::bigint[]) AS wanted(key) CROSS JOIN LATERAL (
    SELECT number FROM trials_hypothesiskey
     WHERE campaign_id = %s AND key = wanted.key AND number <= %s ORDER BY number DESC LIMIT %s
) AS found ORDER BY found.number
"""
_LAST = 2**31 - 1


class HypothesisKeyQuerySet(models.QuerySet[Any]):
    def newest(self, campaign_id: int, keys: Iterable[int], up_to: int | None, each: int) -> list[int]:
        """Numbers of the newest ``each`` trials under every key, without repeats; ``up_to`` bounds the numbers."""
        wanted = list(keys)
        if not wanted:
            return []
        with connections[self.db].cursor() as cursor:
            cursor.execute(_NEWEST, [wanted, campaign_id, _LAST if up_to is None else up_to, each])
            return [number for (number,) in cursor.fetchall()]


class HypothesisKey(models.Model):
    """A key under which a hypothesis is found by similar ones. A search index, not the record."""

    pk = models.CompositePrimaryKey("campaign_id", "key", "number")
    campaign = models.ForeignKey(
        "trials.Campaign", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    key = models.BigIntegerField()
    number = models.IntegerField()

    objects = HypothesisKeyQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.key} {self.number}"
