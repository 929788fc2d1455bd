"""Where a hypothesis is looked up by what it shares with others: keys of trials.sketch, newest trials first."""

from __future__ import annotations

from django.db import models


class HypothesisKey(models.Model):
    """A key under which a hypothesis is found by similar ones. A search index, not the record."""

    pk = models.CompositePrimaryKey("campaign_id", "key", "number")
    campaign = models.ForeignKey(
        "trials.Campaign", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    key = models.BigIntegerField()
    number = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.key} {self.number}"
