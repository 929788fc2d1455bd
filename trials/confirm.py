"""Is a trial that looks better really better? The arithmetic of the keep rule ``verified``: pure, standard library.

A candidate that leads the best by MARGIN noise sd is measured again beside it, on fresh seeds that both share, until a
group-sequential t test decides. Each confirmation may use a part of BUDGET, the chance that an incumbent is ever
replaced by something no better; docs/decisions/0018 says why, ``benchmarks.keep_rule`` what comes of it.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

from trials.vocab import Direction, Ruling

CALIBRATION_SEEDS = 6
"""Measurements of the start, its own trial included, that give the noise."""
SEALED_SEEDS = 5
"""Seeds on which start and best are measured on the sealed split at the end."""
MARGIN = 1.25
"""Lead over the best, in noise sd, from which a score is worth confirming."""
BUDGET = 0.05
"""Chance that an incumbent is ever replaced by a recipe that is no better."""
SHARE = 0.12
"""Share of the trials that is expected to be confirmed: the budget is laid out for as many."""
FEWEST_SHARES = 4
SPENDING = (0.01, 0.03, 0.08, 0.15, 0.2, 0.25, 0.28)
"""How a confirmation's part of the budget is spread over its looks, one after each pair of measurements."""
HOPELESS = (0.0, 0.5, 0.8, 1.1, 1.4, 1.7)
"""Below this z after so many pairs a candidate is given up."""
MOST_PAIRS = len(SPENDING)
MOST_VOID = 4
"""So many seeds may yield no comparison, because a gate was missed or the incumbent failed."""
CANDIDATE_SHARE = 4.0
"""A candidate's variance enters the campaign's noise as at most so many times what it was: one wild recipe must not
blind the search."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Noise:
    """Spread of one recipe's score from seed to seed: standard deviation and the degrees of freedom behind it."""

    sd: float
    df: int

    @classmethod
    def of(cls, scores: Sequence[float]) -> Noise:
        """From repeats of one recipe. Raises statistics.StatisticsError for fewer than two."""
        return cls(statistics.stdev(scores), len(scores) - 1)


@dataclass(frozen=True)
class Pair:
    """Scores of candidate and incumbent with the same seed on the same split."""

    candidate: float
    incumbent: float


@dataclass(frozen=True)
class Look:
    """What the test says after the newest pair.

    ruling: ``confirmed``, ``refuted``, or None when another pair is needed; gain: mean of candidate less incumbent,
    turned so that positive is better; z: the gain in standard errors, as a normal deviate; bound: what z must reach.
    """

    ruling: Ruling | None
    gain: float
    z: float
    bound: float


def fresh_seed(campaign_seed: int, *what: object) -> int:
    """A seed of 31 bits that depends on the campaign's seed and on ``what`` it is for, alone."""
    text = ":".join(map(str, (campaign_seed, *what)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def lead(direction: Direction, score: float, best: float) -> float:
    """By how much ``score`` is better than ``best``, negative when it is worse."""
    return best - score if direction is Direction.LOWER else score - best


def part_of_budget(last: float | None, max_trials: int) -> float:
    """What the next confirmation against an incumbent may use; ``last``: what the one before used, None for the first.

    A fixed share of what is left each time, so that the parts never sum to more than BUDGET, however many there are.
    """
    share = 1.0 / max(FEWEST_SHARES, math.ceil(SHARE * max_trials))
    return BUDGET * share if last is None else last * (1.0 - share)


def look(pairs: Sequence[Pair], noise: Noise, part: float, direction: Direction) -> Look:
    """The test after the newest of ``pairs`` (in the order of their seeds; at least one, at most MOST_PAIRS)."""
    n = len(pairs)
    gain = statistics.fmean(lead(direction, pair.candidate, pair.incumbent) for pair in pairs)
    squares, df = _squares([pair.candidate for pair in pairs]) + _squares([pair.incumbent for pair in pairs]), 2 * n - 2
    variance = (noise.df * noise.sd**2 + squares) / (noise.df + df)
    if df:  # recipes that scatter more than the start did are judged by their own scatter
        variance = max(variance, squares / df)
    z = deviate(gain, math.sqrt(2 * variance / n), noise.df + df)
    bound = _NORMAL.inv_cdf(1 - part * SPENDING[n - 1])
    if z >= bound:
        ruling: Ruling | None = Ruling.CONFIRMED
    elif n >= MOST_PAIRS or z < HOPELESS[n - 1]:
        ruling = Ruling.REFUTED
    else:
        ruling = None
    return Look(ruling, gain, z, bound)


def pooled(noise: Noise, pairs: Sequence[Pair]) -> Noise:
    """The campaign's noise after a confirmation: the scatter within both of its arms is added."""
    df = len(pairs) - 1
    if df < 1:
        return noise
    candidate = min(_squares([pair.candidate for pair in pairs]), CANDIDATE_SHARE * df * noise.sd**2)
    squares = noise.df * noise.sd**2 + candidate + _squares([pair.incumbent for pair in pairs])
    return Noise(math.sqrt(squares / (noise.df + 2 * df)), noise.df + 2 * df)


def deviate(gain: float, error: float, df: float) -> float:
    """Normal deviate with about the tail of Student's t = gain / error (Wallace 1959; within 2 % from five df on)."""
    if error == 0.0:
        return math.copysign(math.inf, gain) if gain else 0.0
    t = gain / error
    return math.copysign((8 * df + 1) / (8 * df + 3) * math.sqrt(df * math.log1p(t * t / df)), t)


def student_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t for a probability above 1/2: the inverse of ``deviate``."""
    z = _NORMAL.inv_cdf(probability) * (8 * df + 3) / (8 * df + 1)
    return math.sqrt(df * math.expm1(z * z / df))


@dataclass(frozen=True)
class Interval:
    """A mean or a difference of means with its two-sided confidence interval; None where one value gives no spread."""

    mean: float
    low: float | None
    high: float | None


def interval(scores: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean of independent scores (at least one) with Student's interval."""
    mean, n = statistics.fmean(scores), len(scores)
    if n < 2:
        return Interval(mean, None, None)
    half = student_quantile(0.5 + confidence / 2, n - 1) * statistics.stdev(scores) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def difference(ours: Sequence[float], theirs: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean of ``ours`` less that of ``theirs`` with Welch's interval; both have at least one score."""
    gap = statistics.fmean(ours) - statistics.fmean(theirs)
    if min(len(ours), len(theirs)) < 2:
        return Interval(gap, None, None)
    shares = [statistics.variance(scores) / len(scores) for scores in (ours, theirs)]
    squared = sum(shares)
    if squared == 0.0:
        return Interval(gap, gap, gap)
    df = squared**2 / sum(share**2 / (len(scores) - 1) for share, scores in zip(shares, (ours, theirs), strict=True))
    half = student_quantile(0.5 + confidence / 2, df) * math.sqrt(squared)
    return Interval(gap, gap - half, gap + half)


def gate_deficit(numbers: Sequence[tuple[int, int]], gate: float) -> float:
    """How far the mean over measurements, each (correct, scored), is below the gate; zero or less when it is met."""
    correct, scored = (sum(column) for column in zip(*numbers, strict=True))
    return float(Fraction(str(gate)) - Fraction(correct, scored))


def _squares(values: Sequence[float]) -> float:
    """Sum of squared distances from the mean."""
    mean = statistics.fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)
