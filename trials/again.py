"""What fresh seeds say of a trial: every measurement on the validation split but the one that gave it its label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trials import confirm
from trials.confirm import Interval
from trials.models import Evaluation, Trial
from trials.services.remeasures import MOST_SEEDS, why_not
from trials.vocab import VALID, EvaluationState, Purpose

SHOWN = 60
OPEN = frozenset({EvaluationState.QUEUED, EvaluationState.RUNNING, EvaluationState.MEASURED})


@dataclass(frozen=True)
class Again:
    """orders: one by one, oldest first. mean: of the valid scores with Student's 95 % interval, None without one.

    The score that the trial was recorded with is left out of the mean: it was chosen for being good.
    """

    orders: Sequence[Evaluation]
    mean: Interval | None
    scores: Sequence[float]
    why_not: str
    recorded: float | None
    most: int = MOST_SEEDS

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each order with its score, and how far that is from the recorded one."""
        told = []
        for each in self.orders:
            score = each.outcome.get("score")
            known = score is not None and self.recorded is not None
            told.append({"order": each, "score": score, "difference": score - self.recorded if known else None})
        return told

    @property
    def asked(self) -> list[Evaluation]:
        """Those that a person asked for."""
        return [order for order in self.orders if order.purpose == Purpose.REMEASURE]

    @property
    def open(self) -> list[Evaluation]:
        return [order for order in self.asked if order.state in OPEN]

    def as_json(self, trial: Trial) -> dict[str, Any]:
        """For programs. recorded: the score that the trial has; open: orders that are not judged yet."""
        return {
            "campaign": trial.campaign.slug,
            "trial": trial.number,
            "recorded": trial.score,
            "open": len(self.open),
            "measured": [
                {"seed": each.seed, "purpose": each.purpose, "state": each.state, **_outcome(each)}
                for each in self.orders
            ],
            "seeds": len(self.scores),
            "mean": None if self.mean is None else self.mean.mean,
            "interval": None if self.mean is None or self.mean.low is None else [self.mean.low, self.mean.high],
        }


def _outcome(order: Evaluation) -> dict[str, Any]:
    return {name: order.outcome.get(name) for name in ("label", "score", "reason")}


def again(trial: Trial) -> Again:
    """The newest SHOWN of a trial's measurements beside its own."""
    rows = Evaluation.objects.filter(trial=trial, split="validation").exclude(purpose=Purpose.TRIAL).order_by("-pk")
    orders = list(rows[:SHOWN])[::-1]
    scores = [order.outcome["score"] for order in orders if order.outcome.get("label") == VALID]
    measuring = any(order.purpose == Purpose.REMEASURE and order.state in OPEN for order in orders)
    mean = confirm.interval(scores) if scores else None
    return Again(orders, mean, scores, why_not(trial, measuring=measuring), trial.score)
