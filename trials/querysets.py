"""Questions to the record. Every one is bounded or indexed: no page scans the trial table."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Self

from django.db import models
from django.db.models import Sum

from trials.vocab import LIVE_CAMPAIGN_STATES, OPEN_TRIAL_STATES, EvaluationState, TrialState

WORKER_ALIVE = timedelta(seconds=20)
"""A worker speaks every five seconds; after this silence it counts as gone."""


class CampaignQuerySet(models.QuerySet[Any]):
    def live(self) -> Self:
        """Campaigns that still hold slots or will ask for more."""
        return self.filter(state__in=LIVE_CAMPAIGN_STATES)

    def locked(self, pk: int) -> Any:
        """The campaign row, locked until the end of the transaction: every numbered write goes through this lock."""
        return self.select_for_update(of=("self",)).get(pk=pk)


class TrialQuerySet(models.QuerySet[Any]):
    def of(self, campaign_id: int) -> Self:
        return self.filter(campaign_id=campaign_id)

    def open(self) -> Self:
        return self.filter(state__in=OPEN_TRIAL_STATES)

    def finished(self) -> Self:
        return self.filter(state=TrialState.FINISHED)

    def revealed(self, up_to: int | None) -> Self:
        """Finished trials, only numbers up to ``up_to`` where a reproducible campaign hides later ones."""
        rows = self.finished()
        return rows if up_to is None else rows.filter(number__lte=up_to)

    def newest(self, count: int) -> Self:
        return self.order_by("-number")[:count]

    def for_rows(self) -> Self:
        """What the trial table shows, without the wide text columns."""
        return self.select_related("parent").defer("proposal", "excerpt", "surface")


class EvaluationQuerySet(models.QuerySet[Any]):
    def expired(self, now: datetime) -> Self:
        return self.filter(state=EvaluationState.RUNNING, lease_expires_at__lt=now)

    def in_flight(self) -> Self:
        return self.filter(state__in=[EvaluationState.QUEUED, EvaluationState.RUNNING])

    def unsent_since(self, moment: datetime) -> Self:
        """Queued work orders whose last message is older than ``moment``: it may have been lost."""
        return self.filter(state=EvaluationState.QUEUED, sent_at__lt=moment)


class WorkerQuerySet(models.QuerySet[Any]):
    def alive(self, now: datetime) -> Self:
        """Those that were heard of lately."""
        return self.filter(seen_at__gt=now - WORKER_ALIVE)


class EventQuerySet(models.QuerySet[Any]):
    def after(self, campaign_id: int, seq: int) -> Self:
        """Events with a higher number, oldest first."""
        return (
            self.filter(campaign_id=campaign_id, seq__gt=seq).select_related("trial", "trial__parent").order_by("seq")
        )


class RollupQuerySet(models.QuerySet[Any]):
    def counts(self, campaign_id: int, *fields: str) -> list[dict[str, Any]]:
        """Sums of trials and seconds grouped by the named fields (``hour``, ``role``, ``label``)."""
        sums = {name: Sum(name) for name in ("trials", "queue_seconds", "run_seconds", "eval_seconds", "log_seconds")}
        return list(self.filter(campaign_id=campaign_id).values(*fields).annotate(**sums).order_by(*fields))
