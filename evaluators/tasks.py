"""Celery's doors to the evaluators. Queues carry ids; a task may come twice, late, or after its worker died."""

from __future__ import annotations

from celery import current_app, shared_task

from evaluators import services

Then = tuple[str, int]


@shared_task(name="evaluators.evaluate")
def evaluate(evaluation_id: int, then: Then | None = None) -> None:
    """Measure one work order on this host, of the campaign whose turn it is; judging goes to the site's queue."""
    campaign_id = services.evaluate(evaluation_id)
    if campaign_id is not None:
        judge.delay(campaign_id, None if then is None else (then[0], campaign_id))


@shared_task(name="evaluators.judge")
def judge(campaign_id: int, then: Then | None = None) -> None:
    """Record what was measured, then call back whoever ordered it (a task name and its argument), here and now: a
    message to the queue that this came from would only cost its way."""
    services.judge_measured(campaign_id)
    if then is not None:
        name, argument = then
        current_app.tasks[name](argument)


def enqueue(evaluation_id: int, device: str, then: Then | None = None) -> None:
    """Send a work order to the workers that have such a device. ``then``: name of the task that whoever orders work
    runs with the campaign's id, the same for all campaigns, once an outcome is recorded."""
    evaluate.apply_async(args=(evaluation_id, then), queue=f"evaluators.{device}")
