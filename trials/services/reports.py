"""Keeping the newest report of each campaign: computed once per state of the record, read by pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from trials.commits import after_commit
from trials.models import Campaign, CampaignReport
from trials.report import VERSION, build_report

WAITS = timedelta(minutes=15)
"""How long a request stands before it may be repeated: a worker may have been lost with it."""
_LOCK = 7_305_300


def stored_report(campaign: Campaign) -> CampaignReport | None:
    """The newest report that was computed, of whatever state; None before the first."""
    return CampaignReport.objects.filter(campaign=campaign, seq__gt=0, version=VERSION).first()


def is_current(stored: CampaignReport | None, campaign: Campaign) -> bool:
    return stored is not None and stored.seq == campaign.last_seq


def current_report(campaign: Campaign) -> dict[str, Any]:
    """The report at the campaign's newest event: the stored one, or computed now and stored."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, campaign.pk % 2**31])  # the second finds it done
        stored = stored_report(campaign)
        if stored is not None and is_current(stored, campaign):
            return stored.report
        known = "" if stored is None else stored.edit_kinds
        begun = time.process_time()
        built = build_report(campaign, known)
        CampaignReport.objects.update_or_create(
            campaign=campaign,
            defaults={
                "seq": campaign.last_seq,
                "version": VERSION,
                "body": built.body,
                "edit_kinds": built.edit_kinds,
                "computed_at": timezone.now(),
                "cpu_seconds": time.process_time() - begun,
            },
        )
        return built.body


def compute(campaign_id: int) -> None:
    """What the task does: bring the stored report up to date and take the request off the row."""
    campaign = Campaign.objects.select_related("best_trial").get(pk=campaign_id)
    try:
        current_report(campaign)
    finally:
        CampaignReport.objects.filter(campaign_id=campaign_id).update(requested_at=None)


@transaction.atomic
def request_report(campaign: Campaign, enqueue: Callable[[int], object]) -> bool:
    """Ask for a fresh report unless somebody has; True when this call did."""
    stored, _ = CampaignReport.objects.select_for_update().get_or_create(campaign=campaign)
    if _waits(stored) or (stored.version == VERSION and stored.seq == campaign.last_seq):
        return False
    CampaignReport.objects.filter(pk=stored.pk).update(requested_at=timezone.now())
    after_commit(enqueue, campaign.pk)
    return True


def is_pending(campaign: Campaign) -> bool:
    """Whether a worker has been asked and has not answered yet."""
    row = CampaignReport.objects.filter(campaign=campaign).only("requested_at").first()
    return row is not None and _waits(row)


def _waits(row: CampaignReport) -> bool:
    return row.requested_at is not None and timezone.now() - row.requested_at < WAITS
