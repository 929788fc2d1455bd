"""Agent sessions: every attempt to make a proposal is on record, whether a trial came of it or not."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from specialists.vocab import SessionState
from trials.models import Blob, Campaign, Trial, choices


class Session(models.Model):
    """One agent at work. ``number`` counts the sessions of a campaign; ``up_to`` is the highest trial it may see.

    worker: who holds the lease, empty while its message waits. transcript: JSON, for agents that work in steps.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="sessions", db_index=False)
    number = models.PositiveIntegerField()
    role = models.CharField(max_length=60)
    state = models.CharField(max_length=10, choices=choices(SessionState), default=SessionState.RUNNING.value)
    up_to = models.IntegerField(null=True, blank=True)
    seed = models.BigIntegerField()
    lineage_view = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    trial = models.OneToOneField(Trial, null=True, on_delete=models.PROTECT, related_name="session")
    note = models.TextField(blank=True)
    worker = models.CharField(max_length=120, blank=True)
    transcript = models.ForeignKey(Blob, null=True, on_delete=models.PROTECT, related_name="+")
    started_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["campaign", "number"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["campaign", "number"], name="session_number_unique"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign", "role"], name="session_open", condition=models.Q(state="running")),
            models.Index(fields=["campaign", "role", "-number"], name="session_by_role"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}/s{self.number} {self.role}"
