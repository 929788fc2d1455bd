"""The arithmetic of the keep rule ``verified``: pure decisions, their properties, and Student's tails."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from trials import confirm, keep
from trials.confirm import Noise, Pair
from trials.vocab import Direction, KeepRule, Label, Ruling

NOISE = Noise(1.0, 5)
PART = confirm.part_of_budget(None, 200)
LOWER, HIGHER = Direction.LOWER, Direction.HIGHER
#: Upper tails of Student's t from tables: df, t, probability.
TABLE = [
    (5, 2.015, 0.05), (5, 4.032, 0.005), (5, 5.893, 0.001), (7, 1.895, 0.05), (7, 4.785, 0.001), (17, 2.567, 0.01),
    (17, 3.646, 0.001), (30, 3.385, 0.001), (120, 3.160, 0.001),
]  # fmt: skip


def some_pairs(rng: random.Random) -> list[Pair]:
    shift = rng.choice([0.0, 1.0, 3.0, 20.0, -2.0])
    return [Pair(rng.gauss(-shift, 1), rng.gauss(0, 1)) for _ in range(rng.randint(1, confirm.MOST_PAIRS))]


@pytest.mark.parametrize("df,t,tail", TABLE)
def test_the_normal_deviate_and_the_quantile_agree_with_the_tables_of_students_t(
    df: int, t: float, tail: float
) -> None:
    found = 1 - statistics.NormalDist().cdf(confirm.deviate(t, 1.0, df))
    assert found == pytest.approx(tail, rel=0.1)
    assert confirm.student_quantile(1 - tail, df) == pytest.approx(t, rel=0.02)


def test_no_noise_at_all_is_no_division_by_zero() -> None:
    exact = Noise(0.0, 5)
    assert confirm.look([Pair(1.0, 2.0)], exact, PART, LOWER).ruling is Ruling.CONFIRMED
    assert confirm.look([Pair(2.0, 1.0)], exact, PART, LOWER).ruling is Ruling.REFUTED
    assert confirm.look([Pair(1.0, 1.0)], exact, PART, LOWER).ruling is None
    assert confirm.pooled(exact, [Pair(1.0, 2.0)]) == exact


@pytest.mark.parametrize("seed", range(60))
def test_a_look_does_not_depend_on_unit_offset_or_direction(seed: int) -> None:
    pairs = some_pairs(random.Random(seed))
    found = confirm.look(pairs, NOISE, PART, LOWER)
    moved = [Pair(5.0 - 1000 * pair.candidate, 5.0 - 1000 * pair.incumbent) for pair in pairs]
    same = confirm.look(moved, Noise(1000.0, 5), PART, HIGHER)
    assert (same.ruling, same.bound) == (found.ruling, found.bound)
    assert same.z == pytest.approx(found.z) and same.gain == pytest.approx(1000 * found.gain)


@pytest.mark.parametrize("seed", range(60))
def test_a_better_candidate_never_looks_worse_and_swapped_arms_are_never_confirmed_both(seed: int) -> None:
    pairs = some_pairs(random.Random(seed))
    found = confirm.look(pairs, NOISE, PART, LOWER)
    better = confirm.look([Pair(p.candidate - 0.5, p.incumbent) for p in pairs], NOISE, PART, LOWER)
    assert better.z > found.z
    if found.ruling is Ruling.CONFIRMED:
        assert better.ruling is Ruling.CONFIRMED and found.gain > 0
        swapped = confirm.look([Pair(p.incumbent, p.candidate) for p in pairs], NOISE, PART, LOWER)
        assert swapped.ruling is Ruling.REFUTED and swapped.z == pytest.approx(-found.z)


@pytest.mark.parametrize("seed", range(40))
def test_every_confirmation_ends_and_less_budget_asks_for_more(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [Pair(rng.gauss(-1.5, 1), rng.gauss(0, 1)) for _ in range(confirm.MOST_PAIRS)]
    assert confirm.look(pairs, NOISE, PART, LOWER).ruling is not None
    for count in range(1, confirm.MOST_PAIRS + 1):
        assert (
            confirm.look(pairs[:count], NOISE, PART / 10, LOWER).bound
            > confirm.look(pairs[:count], NOISE, PART, LOWER).bound
        )


@pytest.mark.parametrize("trials", [1, 4, 60, 200, 1_000_000])
def test_the_parts_never_sum_to_more_than_the_budget(trials: int) -> None:
    part, spent = None, 0.0
    for _ in range(3000):
        part = confirm.part_of_budget(part, trials)
        assert part > 0
        spent += part
    assert spent <= confirm.BUDGET and sum(confirm.SPENDING) == pytest.approx(1.0)


def test_a_wild_candidate_is_judged_by_its_own_scatter_and_does_not_blind_the_search() -> None:
    wild = [Pair(score, 0.0) for score in (-30.0, 2.0, -31.0, 3.0)]
    assert confirm.look(wild, NOISE, PART, LOWER).ruling is not Ruling.CONFIRMED
    steady = [Pair(score, 0.0) for score in (-14.0, -14.1, -13.9, -14.0)]
    assert confirm.look(steady, NOISE, PART, LOWER).ruling is Ruling.CONFIRMED
    assert confirm.pooled(NOISE, wild).sd < 1.5 and confirm.pooled(NOISE, wild).df == NOISE.df + 6


def test_a_lead_counts_from_the_margin_on_and_only_where_the_noise_is_known() -> None:
    for direction, sign in ((LOWER, -1), (HIGHER, 1)):
        inside, outside = 2.0 + sign * 1.2, 2.0 + sign * 1.3
        assert keep.decide(KeepRule.VERIFIED, direction, inside, 2.0, 1.0) is Label.DISCARD
        assert keep.decide(KeepRule.VERIFIED, direction, outside, 2.0, 1.0) is Label.PROVISIONAL
    with pytest.raises(ValueError, match="expected a calibrated campaign"):
        keep.decide(KeepRule.VERIFIED, LOWER, 1.0, 2.0)
    with pytest.raises(ValueError, match="expected a finite number"):
        keep.decide(KeepRule.VERIFIED, LOWER, math.nan, 2.0, 1.0)


def test_intervals_hold_what_they_promise() -> None:
    rng, held, apart = random.Random(1), 0, 0
    for _ in range(2000):
        ours, theirs = [rng.gauss(1, 2) for _ in range(5)], [rng.gauss(0, 1) for _ in range(4)]
        mean, gap = confirm.interval(ours), confirm.difference(ours, theirs)
        held += mean.low < 1 < mean.high
        apart += gap.low < 1 < gap.high
    assert held / 2000 == pytest.approx(0.95, abs=0.02) and apart / 2000 == pytest.approx(0.95, abs=0.02)
    assert confirm.interval([2.0]) == confirm.Interval(2.0, None, None)
    assert confirm.difference([2.0], [1.0, 1.0]) == confirm.Interval(1.0, None, None)
    assert confirm.difference([2.0, 2.0], [1.0, 1.0]) == confirm.Interval(1.0, 1.0, 1.0)


def test_fresh_seeds_are_repeatable_different_and_of_31_bits() -> None:
    seeds = [confirm.fresh_seed(0, "confirmation", trial, 1, index) for trial in range(100) for index in range(8)]
    assert len(set(seeds)) == len(seeds) and max(seeds) < 2**31
    assert confirm.fresh_seed(0, "a") == confirm.fresh_seed(0, "a") != confirm.fresh_seed(1, "a")
