"""Messages to Celery by task name, so that plain functions need not import the tasks that call them."""

from __future__ import annotations

from collections.abc import Callable

from celery import current_app

from evaluators.tasks import enqueue
from specialists.models import Session
from specialists.vocab import REPEATABLE
from trials.models import Campaign

ADVANCE = "specialists.advance"
RUN_SESSION = "specialists.run_session"
AGENTS_QUEUE, MODELS_QUEUE = "agents", "agents.models"
STUDY, STUDY_REPORT, CAMPAIGN_ENDED = "specialists.study", "specialists.study_report", "specialists.campaign_ended"


def evaluation(campaign: Campaign) -> Callable[[int], None]:
    """Sends a work order of this campaign; when its outcome is recorded the campaign advances."""
    device, then = campaign.spec["profile"]["device"], (ADVANCE, campaign.pk)

    def send(evaluation_id: int) -> None:
        enqueue(evaluation_id, device, then)

    return send


def advance(campaign_id: int) -> None:
    current_app.send_task(ADVANCE, args=[campaign_id])


def session(started: Session) -> None:
    """A ticket for one session of its queue; whose is decided when a worker takes it (``specialists.turns``)."""
    current_app.send_task(RUN_SESSION, args=[started.pk], queue=queue_of(started.campaign.proposer))


def queue_of(proposer: str) -> str:
    """Agents that work for minutes have a queue of their own: they hold up nobody's judging."""
    return AGENTS_QUEUE if proposer in REPEATABLE else MODELS_QUEUE


def study(study_id: int) -> None:
    current_app.send_task(STUDY, args=[study_id])


def study_report(study_id: int) -> None:
    current_app.send_task(STUDY_REPORT, args=[study_id])


def campaign_ended(campaign_id: int) -> None:
    """Whoever waits for the end of a campaign looks after it."""
    current_app.send_task(CAMPAIGN_ENDED, args=[campaign_id])
