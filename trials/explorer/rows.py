"""Trials that an ``Ask`` asks for: each order runs along an index, a page reads a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import Q, prefetch_related_objects

from trials.explorer import words
from trials.explorer.ask import BY_GAIN, BY_SCORE, Ask, Place
from trials.models import Campaign, Trial
from trials.querysets import GAINED, RANKED, TrialQuerySet
from trials.vocab import Direction, Label

PAGE = 50
COLUMNS = (
    "campaign_id", "number", "role", "state", "label", "standing", "reason", "failure", "hypothesis", "expected_delta",
    "score", "delta_vs_parent", "delta_vs_best", "artifact_bytes", "depth", "seed", "isolation_level", "submitted_at",
    "finished_at", "queue_seconds", "run_seconds", "eval_seconds", "log_seconds",
)  # fmt: skip


def asked(campaign: Campaign, ask: Ask) -> TrialQuerySet:
    """All of them, in order, from the place that the address names."""
    rows: TrialQuerySet = Trial.objects.of(campaign.pk)
    for name in ("role", "state", "label", "standing", "failure"):
        if value := getattr(ask, name):
            rows = rows.filter(**{name: value})
    if ask.text:
        rows = rows.matching(ask.text)
    if ask.low is not None:
        rows = rows.filter(score__gte=ask.low)
    if ask.high is not None:
        rows = rows.filter(score__lte=ask.high)
    return _from_place(_ordered(rows, campaign, ask.sort), campaign, ask)


def _column(sort: str) -> str:
    """What rows are sorted by before their number; empty where it is the number alone."""
    return "score" if sort in BY_SCORE else "delta_vs_parent" if sort in BY_GAIN else ""


def _rises(campaign: Campaign, sort: str) -> bool:
    """Whether what rows are sorted by grows from row to row."""
    good_first = sort in ("best", "gain")
    return good_first == (campaign.direction == Direction.LOWER)


def _ordered(rows: TrialQuerySet, campaign: Campaign, sort: str) -> TrialQuerySet:
    column = _column(sort)
    if not column:
        return rows.order_by("number" if sort == "oldest" else "-number")
    rows = rows.filter(RANKED if sort in BY_SCORE else GAINED)
    return rows.order_by(column, "number") if _rises(campaign, sort) else rows.order_by(f"-{column}", "-number")


def _from_place(rows: TrialQuerySet, campaign: Campaign, ask: Ask) -> TrialQuerySet:
    if ask.after is None:
        return rows
    value, number = ask.after
    column = _column(ask.sort)
    if not column:
        return rows.filter(number__gt=number) if ask.sort == "oldest" else rows.filter(number__lt=number)
    way = "gt" if _rises(campaign, ask.sort) else "lt"
    # The first condition lets the index start at the place; the second leaves out the ties before it.
    return rows.filter(**{f"{column}__{way}e": value}).filter(
        Q(**{f"{column}__{way}": value}) | Q(**{f"number__{way}": number})
    )


def page(campaign: Campaign, ask: Ask, size: int = PAGE) -> tuple[list[Any], Place | None]:
    """At most ``size`` trials and the place where the next page begins, None when this is the last.

    Fewer than ``size`` and a place where words were looked for in as many trials as one page may cost.
    """
    rows, end = asked(campaign, replace(ask, text="")), None
    if ask.text:
        found = words.find(campaign.pk, ask.text, rows, ask.after, size + 1)
        rows, end = rows.filter(pk__in=found.ids), found.end
    trials = _read(rows.for_table(COLUMNS)[: size + 1])
    shown = trials[:size]
    if len(trials) <= size:
        return shown, end
    column = _column(ask.sort)
    last = shown[-1]
    return shown, (getattr(last, column) if column else None, last.number)


def among(campaign: Campaign, ask: Ask, numbers: Sequence[int]) -> list[Any]:
    """Those of the numbered trials that are asked for, wherever in the order they stand."""
    rows = asked(campaign, replace(ask, after=None)).filter(number__in=numbers)
    return _read(rows.for_table(COLUMNS)) if numbers else []


def _read(rows: TrialQuerySet) -> list[Any]:
    """The rows, with what was decided and asked of those that wait for it: few, and of most pages none."""
    found = list(rows)
    waiting = [trial for trial in found if trial.label == Label.PROVISIONAL]
    prefetch_related_objects(waiting, "confirmations", "approvals")
    return found
