"""What a keep rule keeps when there is nothing to find, and how much of what there is to find, in simulated searches.

The decisions are those of the site (``trials.keep``, ``trials.confirm``). Scores are normal with a seed sd of 1 unless
a row says otherwise; no rule is told that sd. The noise comes from a few seeds of the start, and a best score is as
lucky as the trial that reached it, for every rule alike. Rivals: ``strict`` (the paper's greedy rule), and the mean of
three fresh seeds on either side.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from benchmarks.report import Report, Target, at_most, run
from trials import confirm, keep
from trials.confirm import Noise, Pair
from trials.vocab import Direction, KeepRule, Label, Ruling

TRIALS = 200
REAL = 3.0
RATE = 0.1
FIXED_SEEDS = 3
WITHIN = 8
SHIFT = 2_500_000
"""Seeds of two scenarios are this far apart."""
Draw = Callable[[random.Random], float]


def normal(rng: random.Random) -> float:
    return rng.gauss(0.0, 1.0)


def heavy(rng: random.Random) -> float:
    """Student's t with five degrees of freedom, scaled to an sd of 1."""
    chi = sum(rng.gauss(0.0, 1.0) ** 2 for _ in range(5))
    return rng.gauss(0.0, 1.0) / math.sqrt(chi / 5) * math.sqrt(3 / 5)


@dataclass
class Search:
    """A simulated search, lower is better. ``truth``: expected score of the best; ``best``: what the rule believes."""

    rng: random.Random
    draw: Draw
    scatter: float
    noise: Noise
    best: float
    truth: float = 0.0
    part: float | None = None
    evaluations: int = 0
    kept: list[tuple[float, int]] = field(default_factory=list)
    """True gain of each keep, and how many seeds of its own it took."""

    def measure(self, truth: float, scatter: float = 1.0) -> float:
        self.evaluations += 1
        return truth + scatter * self.draw(self.rng)

    def keep(self, truth: float, believed: float, seeds: int) -> None:
        self.kept.append((self.truth - truth, seeds))
        self.truth, self.best, self.part = truth, believed, None


Rule = Callable[[Search, float], None]
"""One trial whose expected score is given: measured, and kept or not."""


def strict(search: Search, truth: float) -> None:
    score = search.measure(truth, search.scatter)
    if keep.decide(KeepRule.STRICT, Direction.LOWER, score, search.best) is Label.KEEP:
        search.keep(truth, score, 1)


def fixed(search: Search, truth: float) -> None:
    """Whatever looks better is measured on three fresh seeds beside the best, and kept when its mean is better."""
    score = search.measure(truth, search.scatter)
    if keep.decide(KeepRule.STRICT, Direction.LOWER, score, search.best) is Label.KEEP:
        mine = statistics.fmean(search.measure(truth, search.scatter) for _ in range(FIXED_SEEDS))
        theirs = statistics.fmean(search.measure(search.truth) for _ in range(FIXED_SEEDS))
        if mine < theirs:
            search.keep(truth, mine, 1 + FIXED_SEEDS)


def verified(search: Search, truth: float) -> None:
    """The site's default: provisional by a margin, then looks at pairs until the test decides."""
    score = search.measure(truth, search.scatter)
    label = keep.decide(KeepRule.VERIFIED, Direction.LOWER, score, search.best, search.noise.sd)
    if label is not Label.PROVISIONAL:
        return
    search.part = confirm.part_of_budget(search.part, TRIALS)
    pairs: list[Pair] = []
    ruling = None
    while ruling is None:
        pairs.append(Pair(search.measure(truth, search.scatter), search.measure(search.truth)))
        ruling = confirm.look(pairs, search.noise, search.part, Direction.LOWER).ruling
    search.noise = confirm.pooled(search.noise, pairs)
    if ruling is Ruling.CONFIRMED:
        search.keep(truth, statistics.fmean(pair.candidate for pair in pairs), 1 + len(pairs))


RULES: dict[str, Rule] = {"strict": strict, "fixed_3_seeds": fixed, "verified": verified}


@dataclass(frozen=True)
class Scenario:
    """effects: true gain of each trial over the best at its time, in seed sd; scatter: seed sd of the candidates."""

    name: str
    effects: Callable[[random.Random], Sequence[float]]
    draw: Draw = normal
    scatter: float = 1.0


def nothing(rng: random.Random) -> Sequence[float]:
    return [0.0] * TRIALS


def one_of_ten(rng: random.Random) -> Sequence[float]:
    return [REAL if rng.random() < RATE else 0.0 for _ in range(TRIALS)]


def a_single_one(rng: random.Random) -> Sequence[float]:
    effects = [0.0] * TRIALS
    effects[rng.randrange(TRIALS)] = REAL
    return effects


def harm_and_gain(rng: random.Random) -> Sequence[float]:
    """Half of the edits do harm, a tenth helps a little, one in thirty much."""
    return rng.choices([-2.0, 0.0, 1.5, 10.0], [0.5, 0.37, 0.1, 0.03], k=TRIALS)


SCENARIOS = (
    Scenario("no true effect", nothing),
    Scenario("no true effect, heavy tails", nothing, heavy),
    Scenario("no true effect, candidates scatter twice as much", nothing, scatter=2.0),
    Scenario("one edit in ten is better by 3 sd", one_of_ten),
    Scenario("one edit of 200 is better by 3 sd", a_single_one),
    Scenario("harm, nothing, +1.5 sd, +10 sd", harm_and_gain),
)


@dataclass
class Sums:
    """Of many searches. ``real``: trials of at least REAL; ``found``: those kept within WITHIN seeds of their own."""

    searches: int = 0
    keeping: int = 0
    keeps: int = 0
    false: int = 0
    real: int = 0
    found: int = 0
    evaluations: int = 0
    believed: float = 0.0
    gained: float = 0.0

    def add(self, other: Sums) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def simulate(rule: str, scenario: int, seed: int) -> Sums:
    """One search under one rule."""
    chosen, rng = SCENARIOS[scenario], random.Random(seed)
    effects = chosen.effects(rng)
    start = [chosen.draw(rng) for _ in range(confirm.CALIBRATION_SEEDS)]
    calibrated = rule == "verified"
    begun = statistics.fmean(start) if calibrated else start[0]
    search = Search(rng, chosen.draw, chosen.scatter, Noise.of(start), begun)
    search.evaluations = len(start) if calibrated else 1
    found = 0
    for effect in effects:
        before = len(search.kept)
        RULES[rule](search, search.truth - effect)
        found += effect >= REAL and len(search.kept) > before and search.kept[-1][1] <= WITHIN
    return Sums(
        searches=1,
        keeping=bool(search.kept),
        keeps=len(search.kept),
        false=sum(gain <= 0.0 for gain, _ in search.kept),
        real=sum(effect >= REAL for effect in effects),
        found=found,
        evaluations=search.evaluations,
        believed=begun - search.best,
        gained=-search.truth,
    )


def simulate_many(rule: str, scenario: int, first: int, count: int) -> Sums:
    sums = Sums()
    for seed in range(first, first + count):
        sums.add(simulate(rule, scenario, SHIFT * scenario + seed))
    return sums


def upper(hits: int, of: int) -> float:
    """Upper end of a one-sided 95 % Wilson interval of a share."""
    z, share = 1.645, hits / of
    centre = share + z * z / (2 * of)
    return (centre + z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))) / (1 + z * z / of)


def row(rule: str, scenario: Scenario, sums: Sums) -> dict[str, object]:
    """Shares in percent, gains in seed sd, evaluations in a search of 200 trials."""
    each = 1.0 / sums.searches
    found: dict[str, object] = {
        "scenario": scenario.name,
        "rule": rule,
        "searches": sums.searches,
        "searches_that_keep_pct": round(100 * sums.keeping * each, 2),
        "keeps": round(sums.keeps * each, 2),
        "false_keeps": round(sums.false * each, 3),
        "believed_gain_sd": round(sums.believed * each, 2),
        "true_gain_sd": round(sums.gained * each, 2),
        "extra_evaluations": round(sums.evaluations * each - 1 - TRIALS, 1),
    }
    if sums.real:
        found["real_edits_kept_within_8_seeds_pct"] = round(100 * sums.found / sums.real, 1)
    return found


def measure(report: Report) -> None:
    """Every rule in every scenario; the targets are the issue's."""
    searches = 2_000 if report.quick else 20_000
    cores = os.cpu_count() or 1
    step = -(-searches // (4 * cores))
    results: dict[tuple[str, str], Sums] = {}
    with ProcessPoolExecutor(cores) as pool:
        for number, scenario in enumerate(SCENARIOS):
            for rule in RULES:
                firsts = range(0, searches, step)
                counts = [min(step, searches - first) for first in firsts]
                sums = Sums()
                repeats = (len(counts) * [rule], len(counts) * [number])
                for part in pool.map(simulate_many, *repeats, firsts, counts):
                    sums.add(part)
                results[scenario.name, rule] = sums
                report.rows.append(row(rule, scenario, sums))
                sys.stderr.write(f"{scenario.name}: {rule}\n")
    idle = results[SCENARIOS[0].name, "verified"]
    report.targets["searches_without_effect_that_keep_pct"] = at_most(round(100 * idle.keeping / idle.searches, 2), 5.0)
    report.targets["the_same_upper_95_pct"] = at_most(round(100 * upper(idle.keeping, idle.searches), 2), 5.0)
    for scenario in SCENARIOS[3:5]:
        sums = results[scenario.name, "verified"]
        missed = round(100 * (1 - sums.found / sums.real), 1)
        name = f"{scenario.name.replace(' ', '_').replace('.', '')}_missed_pct"
        report.targets[name] = Target(missed, 20.0, missed <= 20.0)


if __name__ == "__main__":
    raise SystemExit(run("keep_rule", measure))
