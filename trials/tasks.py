"""Celery's door to the record: figures that are too much for a page view."""

from __future__ import annotations

from celery import shared_task

from trials.services import reports


@shared_task(name="trials.compute_report")
def compute_report(campaign_id: int) -> None:
    """The report of one campaign, for its page."""
    reports.compute(campaign_id)
