"""Where a hypothesis is looked up by what it shares with others: keys of trials.sketch, newest trials first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import models


class HypothesisKeyQuerySet(models.QuerySet[Any]):
    def newest(self, campaign_id: int, keys: Iterable[int], up_to: int | None, each: int) -> list[int]:
        """Numbers of the newest ``each`` trials under every key, without repeats; ``up_to`` bounds the numbers."""
        rows = self.filter(campaign_id=campaign_id)
        if up_to is not None:
            rows = rows.filter(number__lte=up_to)
        parts = [rows.filter(key=key).order_by("-number").values_list("number", flat=True)[:each] for key in keys]
        if not parts:
            return []
        return sorted(set(parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0]))


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
