"""Evaluator processes as they announce themselves. No part of a campaign's record."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from trials.querysets import WorkerQuerySet


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
