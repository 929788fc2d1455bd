"""Who is told of what, and what was sent. No part of a campaign's record."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from trials.fields import choices
from trials.vocab import DeliveryState, Notice


class Webhook(models.Model):
    """An address that is told of a campaign, or without one of all that its owner sees.

    kinds: of ``Notice``; secret: signs every message; since: nothing older is told.
    """

    part_of_record = False
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks")
    campaign = models.ForeignKey("trials.Campaign", null=True, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=500)
    secret = models.CharField(max_length=64)
    kinds = models.JSONField()
    since = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["-pk"]

    def __str__(self) -> str:
        return f"webhook {self.pk}"


class Watch(models.Model):
    """How far a campaign was looked through for something to tell: its events, and its improvements."""

    part_of_record = False
    campaign = models.OneToOneField("trials.Campaign", models.CASCADE, primary_key=True, related_name="watch")
    seq = models.BigIntegerField(default=0)
    step = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.campaign_id} through {self.seq}"


class Delivery(models.Model):
    """One message to one address. key: what it tells of, told once. due_at: when it is tried next."""

    part_of_record = False
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    campaign = models.ForeignKey("trials.Campaign", null=True, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=choices(Notice))
    key = models.CharField(max_length=60)
    body = models.JSONField()
    state = models.CharField(max_length=10, choices=choices(DeliveryState), default=DeliveryState.QUEUED.value)
    attempts = models.PositiveSmallIntegerField(default=0)
    told = models.CharField(max_length=300, blank=True)
    made_at = models.DateTimeField()
    due_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["webhook", "key"], name="delivery_told_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="delivery_due", condition=Q(state="queued")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.webhook_id}: {self.state}"
