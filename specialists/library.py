"""The record as one agent may read it: exactly what the campaign's lineage policy shows, in bounded pieces.

With policy ``none`` an agent learns the scores of the start and of the best trial, and nothing of any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from django.db.models import Q

from specialists.proposals import NoBase, TrialText
from specialists.workspace import decode
from trials.lineage import LineageSlice, visible_trials
from trials.models import Campaign, Trial
from trials.querysets import TrialQuerySet
from trials.services import approvals
from trials.services.blobs import get_text, get_tree
from trials.standing import why
from trials.statements import first

ROWS = 20
#: Words are looked for in so many of the newest visible trials: the cost of a search does not grow with the campaign.
SEARCHED = 5_000
FACTS = ("role", "score", "delta_vs_parent", "delta_vs_best", "expected_delta", "artifact_bytes")


def source_reader(campaign: Campaign, view: LineageSlice) -> Callable[[int], Mapping[str, str]]:
    """Reads the source of the start, the best and of visible trials; anything else is refused with LookupError."""
    shown = {entry.number for entry in view.entries()} | {0}

    @cache
    def read(number: int) -> Mapping[str, str]:
        if number not in shown and not visible_trials(campaign, view.role, view.up_to).filter(number=number).exists():
            raise LookupError(f"trial {number} is not in this lineage slice")
        trial = first(Trial, "WHERE campaign_id = %s AND number = %s", [campaign.pk, number])
        assert trial is not None, "shown"
        if closed := approvals.no_base(campaign, trial):
            raise NoBase(closed)
        return decode(get_tree(trial.tree_sha256))

    return read


class TrialLibrary:
    """See specialists.proposals.Library."""

    def __init__(self, campaign: Campaign, view: LineageSlice) -> None:
        self._campaign, self._view = campaign, view

    @cached_property
    def _visible(self) -> TrialQuerySet:
        return visible_trials(self._campaign, self._view.role, self._view.up_to)

    def search(self, words: str, role: str, label: str, *, best_first: bool, below: int | None) -> Sequence[TrialText]:
        """Visible trials whose hypothesis or reason holds every word, at most ROWS."""
        rows = self._visible.filter(number__gt=self._campaign_end() - SEARCHED)
        for word in words.split()[:8]:
            rows = rows.filter(Q(hypothesis__icontains=word) | Q(reason__icontains=word))
        if role:
            rows = rows.filter(role=role)
        if label:
            rows = rows.filter(standing=label)
        if below is not None:
            rows = rows.filter(number__lt=below)
        rows = rows.select_related("parent").prefetch_related("confirmations", "approvals")
        found = rows.leading(self._campaign.direction, ROWS) if best_first else rows.newest(ROWS)
        return [TrialText(trial.number, _facts(trial), trial.hypothesis) for trial in found]

    def trial(self, number: int) -> TrialText:
        """Everything that may be read of one trial. Raises LookupError."""
        found: Trial | None = self._visible.select_related("parent").filter(number=number).first()
        if found is None:
            best = self._view.best
            if best is not None and best.number == number:
                return TrialText(number, {"score": best.score})
            if number == 0:
                return TrialText(number, {"score": self._view.start_score})
            raise LookupError(f"trial {number} is not shown to you")
        return TrialText(
            number,
            _facts(found) | {name: str(value) for name, value in found.numbers.items()},
            hypothesis=found.hypothesis,
            excerpt=found.excerpt,
            diff=get_text(found.diff_id),
            log=get_text(found.log_id),
        )

    def hidden(self, numbers: Sequence[int]) -> int | None:
        """See specialists.proposals.Library."""
        best = self._view.best
        asked = [number for number in numbers if number != 0 and (best is None or number != best.number)]
        if not asked:
            return None
        shown = set(self._visible.filter(number__in=asked).values_list("number", flat=True))
        return next((number for number in asked if number not in shown), None)

    def _campaign_end(self) -> int:
        last = Campaign.objects.values_list("last_number", flat=True).get(pk=self._campaign.pk)
        return last if self._view.up_to is None else min(last, self._view.up_to)


def _facts(trial: Trial) -> dict[str, Any]:
    facts: dict[str, Any] = {"label": trial.standing, "reason": why(trial)}
    facts |= {name: getattr(trial, name) for name in FACTS}
    facts["parent"] = None if trial.parent is None else trial.parent.number
    return {name: value for name, value in facts.items() if value not in (None, "")}
