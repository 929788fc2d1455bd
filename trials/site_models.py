"""What belongs to the site and to no campaign: its own ledger."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.db import models

from trials.fields import HASH_LENGTH, choices
from trials.vocab import SiteEventKind


class SiteEvent(models.Model):
    """One line of the site's own ledger: keys, exports, imports, log-ins, rosters. Chained like those of campaigns."""

    seq = models.BigIntegerField(unique=True)
    at = models.DateTimeField()
    kind = models.CharField(max_length=24, choices=choices(SiteEventKind))
    actor = models.CharField(max_length=150)
    body = models.TextField()
    salt = models.CharField(max_length=32)
    previous_sha256 = models.CharField(max_length=HASH_LENGTH, blank=True)
    sha256 = models.CharField(max_length=HASH_LENGTH)

    class Meta:
        ordering: ClassVar[list[str]] = ["seq"]

    def __str__(self) -> str:
        return f"site#{self.seq} {self.kind}"

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.body)
        return payload


class Maintenance(models.Model):
    """While its one row is there nothing new is begun: no launch, no session, no measurement."""

    actor = models.CharField(max_length=150)
    reason = models.CharField(max_length=300, blank=True)
    since = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=models.Q(pk=1), name="maintenance_is_one_row"),
        ]

    def __str__(self) -> str:
        return f"since {self.since:%Y-%m-%d %H:%M} UTC by {self.actor}"
