"""Best-so-far curves of campaigns and their bands over repeats.

They are read from improvements alone: the cost does not grow with the number of trials.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trials.models import Campaign, FrontierStep, Trial
from trials.vocab import LIVE_CAMPAIGN_STATES, Direction, Label

#: Points of a band at most; beyond it every so many-th trial is shown.
MAX_POINTS = 200
HOUR_POINTS = 100


@dataclass(frozen=True)
class Curve:
    """One campaign's improvements in the order of recording.

    trials: which of the counted trials found each, never running back; hours: since launch; gains: percent of the
    start's score, positive for the better. done, lasted: counted trials and hours so far; over: nothing more will come.
    """

    trials: Sequence[int]
    hours: Sequence[float]
    gains: Sequence[float]
    done: int
    lasted: float
    over: bool

    def at_trial(self, number: int) -> float | None:
        """Best gain within the first ``number`` trials; None before the search has got that far."""
        if number > self.done and not self.over:
            return None
        return self._at(self.trials, number)

    def at_hour(self, hour: float) -> float | None:
        """Best gain within ``hour`` hours; None before they have passed."""
        return None if hour > self.lasted and not self.over else self._at(self.hours, hour)

    def _at(self, places: Sequence[float], place: float) -> float:
        found = bisect_right(places, place)
        return self.gains[found - 1] if found else 0.0

    @property
    def final(self) -> float:
        """Gain of the newest best; 0 where nothing was better than the start."""
        return self.gains[-1] if self.gains else 0.0


def read_curves(campaigns: Sequence[Campaign]) -> dict[int, Curve]:
    """Curves by campaign (primary key), for those whose start has been measured: two queries for all of them."""
    measured = [campaign for campaign in campaigns if campaign.start_score]
    uncounted: dict[int, list[int]] = defaultdict(list)
    aborts = Trial.objects.filter(campaign__in=measured, standing=Label.HARNESS_ABORT).order_by("number")
    for pk, number in aborts.values_list("campaign_id", "number"):
        uncounted[pk].append(number)
    steps: dict[int, list[tuple[int, float, Any]]] = defaultdict(list)
    rows = FrontierStep.objects.filter(campaign__in=measured, number__gt=0).order_by("id")
    for pk, number, score, at in rows.values_list("campaign_id", "number", "score", "at"):
        steps[pk].append((number - bisect_left(uncounted[pk], number), score, at))
    return {campaign.pk: _curve(campaign, steps[campaign.pk]) for campaign in measured}


def _curve(campaign: Campaign, steps: Sequence[tuple[int, float, Any]]) -> Curve:
    reached, trials = 0, []
    for place, _, _ in steps:
        reached = max(reached, place)
        trials.append(reached)
    ends = [at for at in (campaign.last_recorded_at, campaign.last_keep_at) if at is not None]
    return Curve(
        trials=trials,
        hours=[(at - campaign.created_at).total_seconds() / 3600 for _, _, at in steps],
        gains=[gain_pct(campaign, score) for _, score, _ in steps],
        done=campaign.trial_count,
        lasted=max(((at - campaign.created_at).total_seconds() / 3600 for at in ends), default=0.0),
        over=campaign.state not in LIVE_CAMPAIGN_STATES,
    )


def gain_pct(campaign: Campaign, score: float) -> float:
    """Improvement over the start in percent of its score, positive for the better. The start must be measured."""
    start = campaign.start_score
    assert start
    sign = -1.0 if campaign.direction == Direction.LOWER else 1.0
    return 100.0 * sign * (score - start) / abs(start)


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median and quartiles over repeats (linear between order statistics); None without a value."""
    if not values:
        return {"q1": None, "median": None, "q3": None}
    low, middle, high = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return {"q1": low, "median": middle, "q3": high}


def trial_band(curves: Sequence[Curve], budget: int) -> dict[str, list[Any]]:
    """Best gain within the first x trials: median, quartiles and how many repeats have got that far."""
    stride = -(-budget // MAX_POINTS)
    xs = sorted({*range(0, budget + 1, stride), budget})
    return _band(curves, xs, lambda curve, x: curve.at_trial(int(x)))


def hours_shown(curves: Sequence[Curve]) -> float:
    """Where bands over hours end: one campaign that was interrupted for days does not draw all others together."""
    lasted = [curve.lasted for curve in curves]
    return min(max(lasted), 2 * float(np.median(lasted))) if lasted else 0.0


def hour_band(curves: Sequence[Curve], hours: float) -> dict[str, list[Any]]:
    """Best gain within x hours, from 0 to ``hours``."""
    xs = [hours * step / HOUR_POINTS for step in range(HOUR_POINTS + 1)] if hours > 0 else [0.0]
    return _band(curves, xs, lambda curve, x: curve.at_hour(x))


def _band(
    curves: Sequence[Curve], xs: Sequence[float], value: Callable[[Curve, float], float | None]
) -> dict[str, list[Any]]:
    band: dict[str, list[Any]] = {"x": [], "n": [], "q1": [], "median": [], "q3": []}
    for x in xs:
        values = [found for curve in curves if (found := value(curve, x)) is not None]
        if not values:
            break
        point: Mapping[str, Any] = {"x": x, "n": len(values), **spread(values)}
        for name, shown in point.items():
            band[name].append(shown)
    return band
