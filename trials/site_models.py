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
