"""Celery's doors to the search: advance a campaign, run one session, find what a lost message left behind."""

from __future__ import annotations

import logging

from celery import shared_task
from django.conf import settings
from django.core.cache import cache

from specialists import services
from specialists.operations.ticking import ticked
from specialists.studies import reports as study_reports
from specialists.studies import services as studies

logger = logging.getLogger(__name__)


@shared_task(name="specialists.advance")
def advance(campaign_id: int) -> None:
    """Decide and start what comes next."""
    services.advance(campaign_id)


@shared_task(name="specialists.run_session")
def run_session(session_id: int) -> None:
    """One agent session, from lineage slice to submitted trial."""
    services.run_session(session_id)


@shared_task(name="specialists.tick")
def tick() -> None:
    """Every few seconds: whatever a lost message, a dead worker or a passed deadline left behind goes on."""
    if not _just_done():
        services.tick()
        studies.tick()
        ticked()


def _just_done() -> bool:
    """Ticks that piled up while nobody worked are one."""
    try:
        return not cache.add("tick", True, timeout=max(1, int(settings.TICK_SECONDS / 2)))
    except Exception:  # the cache is a convenience
        logger.exception("the cache does not answer")
        return False


@shared_task(name="specialists.study")
def study(study_id: int) -> None:
    """Launch what a study lacks."""
    studies.advance(study_id)


@shared_task(name="specialists.campaign_ended")
def campaign_ended(campaign_id: int) -> None:
    """A campaign has ended: its study may go on."""
    studies.campaign_ended(campaign_id)


@shared_task(name="specialists.study_report")
def study_report(study_id: int) -> None:
    """The report of one study, for its page."""
    study_reports.compute(study_id)
