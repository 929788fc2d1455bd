"""Where a computed report is kept, so that a page reads one row instead of every trial."""

from __future__ import annotations

from typing import Any

from django.db import models


class CampaignReport(models.Model):
    """The newest report of a campaign. Not part of the record: it can be computed again at any time.

    seq, version: the event and the definitions that ``body`` was computed at (0 before the first one).
    edit_kinds: one letter per trial number, since sources never change: see ``trials.report``.
    """

    campaign = models.OneToOneField(
        "trials.Campaign", primary_key=True, on_delete=models.CASCADE, related_name="stored_report"
    )
    seq = models.BigIntegerField(default=0)
    version = models.PositiveIntegerField(default=0)
    body = models.JSONField(default=dict)
    edit_kinds = models.TextField(blank=True)
    computed_at = models.DateTimeField(null=True, blank=True)
    cpu_seconds = models.FloatField(default=0.0)
    requested_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"report of {self.campaign_id} at event {self.seq}"

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = self.body
        return report
