"""Questions to the record. Every one is bounded or indexed: no page scans the trial table."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Self

from django.contrib.postgres.search import SearchQuery
from django.db import connections, models
from django.db.models import Func, Q, Sum
from django.db.models.lookups import Exact

from trials.people_models import Restriction
from trials.statements import locked
from trials.vocab import (
    HELD_LABELS,
    LIVE_CAMPAIGN_STATES,
    OPEN_TRIAL_STATES,
    REPEATS,
    SCORED_LABELS,
    Answer,
    Direction,
    EvaluationState,
    Label,
    TrialState,
)

WORKER_ALIVE = timedelta(seconds=20)
"""A worker speaks every five seconds; after this silence it counts as gone."""

#: Trials that may be compared by score, before a confirmation and after it. These three are the conditions of partial
#: indexes: queries repeat them whole.
RANKED = Q(score__isnull=False, label__in=[str(label) for label in sorted(SCORED_LABELS)])
#: Trials whose measured gain over their parent can be told.
GAINED = Q(delta_vs_parent__isnull=False, label__in=[str(label) for label in sorted(SCORED_LABELS)])
#: Trials that count as progress: few of a long search.
HELD = Q(standing__in=[str(label) for label in sorted(HELD_LABELS)])

# Ancestors of depths low..high: skips as long as they do not jump over ``high``, then parent by parent.
_ANCESTORS = """
WITH RECURSIVE walk AS (
    SELECT id, number, depth, parent_id, skip FROM trials_trial WHERE id = %(trial)s
    UNION ALL
    SELECT up.* FROM walk CROSS JOIN LATERAL (
        (SELECT id, number, depth, parent_id, skip FROM trials_trial
          WHERE campaign_id = %(campaign)s AND number = walk.skip AND depth >= %(high)s AND depth < walk.depth)
        UNION ALL
        (SELECT id, number, depth, parent_id, skip FROM trials_trial WHERE id = walk.parent_id AND depth < walk.depth)
        LIMIT 1
    ) AS up WHERE walk.depth > %(low)s
)
SELECT number FROM walk WHERE depth BETWEEN %(low)s AND %(high)s ORDER BY depth
"""

_COUNT_CHILDREN = """
SELECT above.id, counted.many FROM unnest(%s::bigint[]) AS above(id) CROSS JOIN LATERAL (
    SELECT count(*) AS many FROM (SELECT FROM trials_trial WHERE parent_id = above.id LIMIT %s) AS child
) AS counted
"""


class Lockable:
    """held_since: the database's time from which on a row is locked; only such rows have it. as_written: what its
    fields are in the database."""

    held_since: datetime
    as_written: dict[str, Any]

    def hold(self, since: datetime) -> Self:
        """The row as it was read under its lock."""
        self.as_written = dict(vars(self))
        self.held_since = since
        return self


class CampaignQuerySet(models.QuerySet[Any]):
    def live(self) -> Self:
        """Campaigns of this site that still hold slots or will ask for more."""
        return self.filter(state__in=LIVE_CAMPAIGN_STATES, bundle__isnull=True)

    def at_work(self) -> Self:
        """Live ones, and those whose search has ended while something of them is still measured."""
        waiting = self.model._meta.get_field("evaluations").related_model._default_manager.unjudged()
        measured = models.Exists(waiting.filter(campaign=models.OuterRef("pk")))
        return self.filter(Q(state__in=LIVE_CAMPAIGN_STATES) | measured, bundle__isnull=True)

    def shown_to(self, user_pk: int) -> Self:
        """Those that are not restricted, those that the user launched or is a reader of."""
        others = Restriction.objects.filter(campaign=models.OuterRef("pk")).exclude(readers=user_pk)
        return self.filter(Q(created_by=user_pk) | ~models.Exists(others))

    def locked(self, pk: int) -> Any:
        """The campaign row, locked until the end of the transaction: every numbered write goes through this lock.

        Its ``held_since`` is the database's time from which on it is.
        """
        found = locked(self.model, "WHERE id = %s FOR UPDATE", [pk])
        if found is None:
            raise self.model.DoesNotExist(f"there is no campaign {pk}")
        campaign, since = found
        return campaign.hold(since)


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

    def evidence(self, up_to: int | None) -> Self:
        """Revealed trials that say something about an idea: infrastructure failures do not."""
        return self.revealed(up_to).exclude(label=Label.HARNESS_ABORT)

    def newest(self, count: int) -> Self:
        return self.order_by("-number")[:count]

    def leading(self, direction: str, count: int) -> Self:
        """The best scores, best first; of equal ones the earlier trial first."""
        order = "score" if direction == Direction.LOWER else "-score"
        return self.filter(RANKED).order_by(order, "number")[:count]

    def ancestors(self, trial: Any, low: int, high: int) -> list[int]:
        """Numbers of a trial's ancestors of depths low..high (itself among them at its own depth), oldest first.

        Reads about high - low + 2 log2(depth) rows, however deep the trial lies.
        """
        wanted = {"trial": trial.pk, "campaign": trial.campaign_id, "low": low, "high": high}
        with connections[self.db].cursor() as cursor:
            cursor.execute(_ANCESTORS, wanted)
            return [number for (number,) in cursor.fetchall()]

    def count_children(self, parents: list[int], most: int) -> dict[int, int]:
        """How many trials were built on each of these (primary keys), counted up to ``most``."""
        with connections[self.db].cursor() as cursor:
            cursor.execute(_COUNT_CHILDREN, [parents, most])
            return dict(cursor.fetchall())

    def matching(self, text: str) -> Self:
        """Those whose hypothesis and note have the words of ``text``, as for a search engine: ``"as is" or -not``.

        Looks at the words of each trial that is left by whatever else is asked; a text without words leaves all.
        """
        wanted = SearchQuery(text, config="english", search_type="websearch")
        length = Func(wanted, function="numnode", output_field=models.IntegerField())
        found = self.model._meta.get_field("words").related_model._default_manager.filter(trial=models.OuterRef("pk"))
        has = found.annotate(has=models.ExpressionWrapper(Q(words=wanted), models.BooleanField())).values("has")
        return self.filter(Q(Exact(length, 0)) | models.Subquery(has))

    def for_rows(self) -> Self:
        """What the trial table shows, without the wide text columns."""
        rows = self.select_related("parent").prefetch_related("confirmations", "approvals")
        return rows.defer("proposal", "excerpt", "surface")

    def for_table(self, names: Collection[str]) -> Self:
        """What the explorer's table and files show: the named columns alone, of the parent ``parent_number``."""
        return self.annotate(parent_number=models.F("parent__number")).only(*names)


class EvaluationQuerySet(models.QuerySet[Any]):
    def expired(self, now: datetime) -> Self:
        """Orders of this site's campaigns whose worker has fallen silent."""
        return self.filter(state=EvaluationState.RUNNING, lease_expires_at__lt=now, campaign__bundle__isnull=True)

    def in_flight(self) -> Self:
        return self.filter(state__in=[EvaluationState.QUEUED, EvaluationState.RUNNING])

    def unjudged(self) -> Self:
        """Work orders that somebody still has to measure or judge: an index holds these alone."""
        return self.filter(state__in=[EvaluationState.QUEUED, EvaluationState.RUNNING, EvaluationState.MEASURED])

    def repeats_in_flight(self, campaign_id: int) -> Self:
        """Calibrations and confirmations that hold a slot now."""
        return self.in_flight().filter(campaign_id=campaign_id, purpose__in=REPEATS)

    def unsent_since(self, moment: datetime) -> Self:
        """Queued work orders whose last message is older than ``moment``: it may have been lost."""
        return self.filter(state=EvaluationState.QUEUED, sent_at__lt=moment)


class ConfirmationQuerySet(models.QuerySet[Any]):
    def open(self, campaign_id: int) -> Self:
        """Confirmations under way, by trial number."""
        return self.filter(campaign_id=campaign_id, ruling="").select_related("trial").order_by("trial__number")

    def undecided(self, campaign_id: int) -> Self:
        """Those under way that still have to be measured: not those that wait for a person."""
        return self.open(campaign_id).exclude(trial__approvals__answer="")


class ApprovalQuerySet(models.QuerySet[Any]):
    def open(self, campaign_id: int) -> Self:
        """Questions that wait for a person, in the order in which they were asked."""
        return self.filter(campaign_id=campaign_id, answer="").select_related("trial").order_by("number")

    def approved(self, campaign_id: int, subject: str) -> Self:
        """Questions about one subject that were answered with yes, the newest first."""
        return self.filter(campaign_id=campaign_id, subject=subject, answer=Answer.APPROVED).order_by("-number")


class WorkerQuerySet(models.QuerySet[Any]):
    def alive(self, now: datetime) -> Self:
        """Those that were heard of lately."""
        return self.filter(seen_at__gt=now - WORKER_ALIVE)


class EventQuerySet(models.QuerySet[Any]):
    def after(self, campaign_id: int, seq: int) -> Self:
        """Events with a higher number, oldest first."""
        return (
            self.filter(campaign_id=campaign_id, seq__gt=seq)
            .select_related("trial", "trial__parent")
            .prefetch_related("trial__confirmations", "trial__approvals")
            .order_by("seq")
        )


class RollupQuerySet(models.QuerySet[Any]):
    def counts(self, campaign_id: int, *fields: str) -> list[dict[str, Any]]:
        """Sums of trials and seconds grouped by the named fields (``hour``, ``role``, ``label``)."""
        sums = {name: Sum(name) for name in ("trials", "queue_seconds", "run_seconds", "eval_seconds", "log_seconds")}
        return list(self.filter(campaign_id=campaign_id).values(*fields).annotate(**sums).order_by(*fields))
