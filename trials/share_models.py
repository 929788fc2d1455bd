"""How campaigns share what is scarce. No part of a campaign's record: weights are in its events."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Share(models.Model):
    """What a campaign's use counts for beside that of others: of two that both want all, one of weight 3 gets three
    times what one of weight 1 gets. A campaign without such a row has weight 1."""

    part_of_record = False

    campaign = models.OneToOneField("Campaign", on_delete=models.CASCADE, primary_key=True, related_name="share")
    weight = models.PositiveSmallIntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.campaign_id}: {self.weight}"


class Turn(models.Model):
    """What a campaign has had of one resource (``cpu``, ``cuda``: kinds of devices), in seconds by its weight.

    origin: virtual time of the campaign before anything was used; start: when its newest order was taken, in virtual
    time; used: device seconds of measurements that ended; expected: what one of them takes, by the last few; devices:
    how many each holds; taken: how many orders were, which tells whether somebody was faster. trials.services.shares.
    """

    part_of_record = False

    campaign = models.ForeignKey("Campaign", on_delete=models.CASCADE, related_name="turns", db_index=False)
    resource = models.CharField(max_length=20)
    devices = models.PositiveSmallIntegerField()
    origin = models.FloatField()
    start = models.FloatField()
    used = models.FloatField(default=0.0)
    expected = models.FloatField(null=True)
    taken = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "resource"], name="turn_unique"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["resource", "-start"], name="turn_clock")]

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.resource}"
