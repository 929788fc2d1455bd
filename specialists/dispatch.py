"""Messages to Celery by task name, so that plain functions need not import the tasks that call them."""

from __future__ import annotations

from collections.abc import Callable

from celery import current_app

from evaluators.tasks import enqueue
from trials.models import Campaign

ADVANCE = "specialists.advance"
RUN_SESSION = "specialists.run_session"


def evaluation(campaign: Campaign) -> Callable[[int], None]:
    """Sends a work order of this campaign; when its outcome is recorded the campaign advances."""
    device, then = campaign.spec["profile"]["device"], (ADVANCE, campaign.pk)

    def send(evaluation_id: int) -> None:
        enqueue(evaluation_id, device, then)

    return send


def advance(campaign_id: int) -> None:
    current_app.send_task(ADVANCE, args=[campaign_id])


def session(session_id: int) -> None:
    current_app.send_task(RUN_SESSION, args=[session_id], queue="agents")
