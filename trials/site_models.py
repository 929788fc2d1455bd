"""What belongs to the site and to no campaign: its evaluator processes, its own ledger."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.db import models

from trials.fields import HASH_LENGTH, choices
from trials.querysets import WorkerQuerySet
from trials.vocab import SiteEventKind


class Worker(models.Model):
    """One evaluator process, which takes one trial at a time: what it has, and when it was last heard of.

    device: kind (``cpu``, ``cuda``); devices: how many of that kind one trial of it may use. memory_bytes: of the
    host for ``cpu``, of one device else. level: isolation reached. details: versions, isolation and its self-test.
    """

    name = models.CharField(max_length=120, unique=True)
    device = models.CharField(max_length=12)
    device_name = models.CharField(max_length=120, blank=True)
    devices = models.PositiveSmallIntegerField(default=1)
    memory_bytes = models.BigIntegerField(default=0)
    level = models.CharField(max_length=4, blank=True)
    details = models.JSONField(default=dict)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering: ClassVar[list[str]] = ["device", "name"]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["device", "-seen_at"], name="worker_alive")]

    def __str__(self) -> str:
        return self.name


class SiteEvent(models.Model):
    """One line of the site's own ledger: keys, exports, imports, log-ins. Chained as events of campaigns are."""

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
