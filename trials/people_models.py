"""What people add around the record: who may see a campaign, notes, stars. No part of a campaign's ledger."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models


class Restriction(models.Model):
    """A campaign that not everybody sees: its launcher, these readers, and who may see all. No row: everybody."""

    part_of_record = False
    campaign = models.OneToOneField("trials.Campaign", on_delete=models.CASCADE, related_name="restriction")
    readers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+", blank=True)

    class Meta:
        permissions = (("see_every_campaign", "Sees campaigns of others"),)

    def __str__(self) -> str:
        return f"restriction of {self.campaign_id}"


class Note(models.Model):
    """One version of the note on a trial. An edit is a new version; two edits of one version collide on the key."""

    part_of_record = False
    trial = models.ForeignKey("trials.Trial", on_delete=models.CASCADE, related_name="notes", db_index=False)
    version = models.PositiveIntegerField()
    text = models.TextField(blank=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["trial", "-version"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["trial", "version"], name="note_version_unique"),
        ]

    def __str__(self) -> str:
        return f"note {self.version} on {self.trial_id}"


class Star(models.Model):
    """A trial that somebody wants to find again."""

    part_of_record = False
    trial = models.ForeignKey("trials.Trial", on_delete=models.CASCADE, related_name="stars")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "trial"], name="star_unique"),
        ]

    def __str__(self) -> str:
        return f"star of {self.user_id} on {self.trial_id}"
