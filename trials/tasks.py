"""Celery's door to the record: figures that are too much for a page view, and messages to people."""

from __future__ import annotations

from celery import shared_task

from trials.services import notices, reports


@shared_task(name="trials.compute_report")
def compute_report(campaign_id: int) -> None:
    """The report of one campaign, for its page."""
    reports.compute(campaign_id)


@shared_task(name="trials.notices")
def look_for_notices() -> None:
    """Every few seconds: what there is to tell becomes messages, and those that are due are sent."""
    for delivery_id in notices.look():
        deliver.delay(delivery_id)


@shared_task(name="trials.deliver")
def deliver(delivery_id: int) -> None:
    """Send one message; one that does not arrive is due again later."""
    notices.deliver(delivery_id)
