"""Scores pairs of transformations and parent: a Bayesian linear model of gains, and the chance that the result counts.

The gain of a trial over its parent is the sum over its transformations of: the prior of the idea's band + an effect of
the idea + of the transformation + of the strength + of the transformation next to each one that the parent holds.
Effects are normal with the spreads below; measured differences carry noise. Thompson sampling: one draw of all effects
from the posterior per proposal, by Matheron's rule (Wilson et al. 2020), then the candidate with the highest utility.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specialists.proposers.catalog.evidence import Evidence, Step, Use
from specialists.proposers.catalog.resources import Resource

#: Spreads of the effects, as shares of the starting score at a stride and scatter of 1.
IDEA_SPREAD, TRANSFORM_SPREAD, STRENGTH_SPREAD, CONTEXT_SPREAD = 0.003, 0.008, 0.003, 0.003
#: Share of the spreads that is left to transformations which change bytes and no prediction.
LOSSLESS = 0.1
#: Worth of a repair beside its gain, as a share of the starting score: it settles an idea that a limit hid.
SETTLES = 0.004
#: What a trial that yields no score costs, as a share of the starting score.
WASTE = 0.002
#: Spread of the log growth of a resource that a transformation is not expected to move.
STILL = 0.01
#: Spread of a declared growth that is arithmetic, as a share of it; of others it is as large as the growth itself.
FIRM = 0.25
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """Steps on a parent.

    base: the scored trial that stands for the parent's worth: the parent itself, or for a failed parent the trial that
    it was made from; carried: steps of a failed parent, whose gain comes along unmeasured; replaced: steps that the
    parent holds and that these undo by setting the same thing anew; repairs: the failed trial.
    """

    parent: int
    steps: tuple[Step, ...]
    base: int
    carried: tuple[Step, ...] = ()
    replaced: tuple[Step, ...] = ()
    repairs: int | None = None

    @property
    def label(self) -> str:
        return "+".join(step.label for step in self.steps)


@dataclass(frozen=True)
class Scored:
    """A candidate with what the model thinks: mean and sd of the gain over the best, chance that it counts, a draw."""

    candidate: Candidate
    mean: float
    sd: float
    chance: float
    drawn: float

    @property
    def better(self) -> float:
        """Probability that it beats the best, given that it counts."""
        return normal_cdf(self.mean / self.sd) if self.sd > 0 else float(self.mean > 0)


def prior_of(steps: Iterable[Step]) -> float:
    """Sum of the prior gains, as a share of the starting score."""
    return sum(step.transform.prior.value for step in steps if step.transform is not None)


def normal_cdf(x: float) -> float:
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


class Model:
    """Posterior of every effect, given the evidence."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.observed = [use for use in evidence.uses if use.gain is not None]
        self.index: dict[tuple[str, ...], int] = {}

    def score(self, candidates: Sequence[Candidate], rng: np.random.Generator) -> list[Scored]:
        """Mean, spread, chance and one joint draw for every candidate, in the order given."""
        if not candidates:
            return []
        scale = self.evidence.scale
        reach = scale * self.evidence.catalogue.scatter
        seen = [self._features(use.steps, use.context) for use in self.observed]
        asked = [self._asked(candidate) for candidate in candidates]
        x, z = self._matrix(seen) * reach, self._matrix(asked) * reach
        expected = np.array([prior_of(use.steps) * scale for use in self.observed])
        y = np.array([use.gain for use in self.observed], dtype=float) - expected
        noise = self.evidence.noise
        gram = x @ x.T + noise**2 * np.eye(len(y))
        draw = rng.standard_normal(len(self.index))
        residual = y - x @ draw - noise * rng.standard_normal(len(y))
        weights = draw + x.T @ np.linalg.solve(gram, residual)
        solved = np.linalg.solve(gram, x @ z.T)
        prior = np.array([self._prior(c) - self.evidence.deficit(c.base) for c in candidates])
        means = prior + solved.T @ y
        spread = np.sqrt(np.maximum((z * z).sum(1) - ((x @ z.T) * solved).sum(0), 1e-18))
        drawn = prior + z @ weights
        chances = [self.chance(candidate) for candidate in candidates]
        utility = [self._utility(*row) for row in zip(candidates, chances, drawn.tolist(), strict=True)]
        valid = [runs * fits for runs, fits in chances]
        return [Scored(*row) for row in zip(candidates, means.tolist(), spread.tolist(), valid, utility, strict=True)]

    def _utility(self, candidate: Candidate, chances: tuple[float, float], drawn: float) -> float:
        """A drawn gain as far as the trial is likely to count, less what a trial without a score wastes.

        A first miss of a limit is not all waste: another role may bring the same idea back under it.
        """
        runs, fits = chances
        settles = 0.0 if candidate.repairs is None else SETTLES * self.evidence.scale
        worth = self.evidence.catalogue.repairable * (1.0 - fits)
        hidden = 0.0 if candidate.repairs is not None or self._missed(candidate) else worth
        waste = (1.0 - runs * fits) * WASTE * self.evidence.scale
        return runs * (fits + hidden) * max(0.0, drawn) + runs * fits * settles + min(0.0, drawn) - waste

    def _missed(self, candidate: Candidate) -> bool:
        """True when one of the steps broke a limit before, so that its miss is there to be repaired."""
        names = {step.name for step in candidate.steps}
        return any(
            self.evidence.catalogue.broken(use.entry) and names & {step.name for step in use.steps}
            for use in self.evidence.uses
        )

    def _prior(self, candidate: Candidate) -> float:
        gained = prior_of(candidate.steps) + prior_of(candidate.carried) - prior_of(candidate.replaced)
        return gained * self.evidence.scale

    def _asked(self, candidate: Candidate) -> dict[int, float]:
        context = self.evidence.context(candidate.base)
        found = self._features((*candidate.carried, *candidate.steps), context)
        for column, value in self._features(candidate.replaced, context).items():
            found[column] = found.get(column, 0.0) - value
        return found

    def _features(self, steps: Iterable[Step], context: frozenset[str]) -> dict[int, float]:
        found: dict[int, float] = {}

        def add(spread: float, *key: str) -> None:
            at = self.index.setdefault(key, len(self.index))
            found[at] = found.get(at, 0.0) + spread

        others = sorted(context) or ["nothing"]
        for step in steps:
            share = LOSSLESS if step.transform is not None and step.transform.lossless else 1.0
            if step.transform is not None:
                add(share * IDEA_SPREAD, "idea", step.transform.idea)
            add(share * TRANSFORM_SPREAD, "transform", step.name)
            add(share * STRENGTH_SPREAD, "strength", step.label)
            for other in others:
                add(share * CONTEXT_SPREAD / math.sqrt(len(others)), "context", step.name, other)
        return found

    def _matrix(self, rows: Sequence[dict[int, float]]) -> Array:
        matrix = np.zeros((len(rows), len(self.index)))
        for at, row in enumerate(rows):
            for column, value in row.items():
                matrix[at, column] = value
        return matrix

    def chance(self, candidate: Candidate) -> tuple[float, float]:
        """Probabilities that a trial of the candidate runs to a valid end, and that it stays inside every limit."""
        runs = math.prod(self._runs(step) for step in candidate.steps)
        return runs, math.prod(self._fits(candidate, resource) for resource in self.evidence.catalogue.resources)

    def uses(self, name: str) -> list[Use]:
        return [use for use in self.evidence.uses if any(step.name == name for step in use.steps)]

    def _runs(self, step: Step) -> float:
        """Share of uses that ran, from a prior of 19 in 20; a bolder strength that broke says less about a gentler."""
        good, bad = 0.0, 0.0
        for use in self.uses(step.name):
            scale = next(other.scale for other in use.steps if other.name == step.name)
            if self.evidence.catalogue.useless(use.entry):
                bad += 1.0 if step.scale >= scale else 0.25
            else:
                good += 1.0
        return (3.8 + good) / (4.0 + good + 4.0 * bad)

    def _fits(self, candidate: Candidate, resource: Resource) -> float:
        """Probability that a resource stays inside its limit."""
        entry = self.evidence.entries.get(candidate.parent)
        limit = self.evidence.limit(resource)
        used = None if entry is None else self.evidence.spent(entry, resource)
        if used is None or limit is None:
            return self._fits_by_labels(candidate, resource)
        mean, variance = 0.0, STILL**2
        former = {step.name: step.scale for step in candidate.replaced}
        for step in candidate.steps:
            rate, spread = self.rate(step, resource)
            scale = step.scale - former.get(step.name, 0.0)
            mean, variance = mean + rate * scale, variance + (spread * scale) ** 2
        return normal_cdf((math.log(limit / used) - mean) / math.sqrt(variance))

    def rate(self, step: Step, resource: Resource) -> tuple[float, float]:
        """Mean and sd of the log growth of a resource per unit of scale: the declared direction, then measurements."""
        direction = 0 if step.transform is None else getattr(step.transform, resource.direction)
        mean = direction * resource.growth
        guess = FIRM if step.transform is not None and step.transform.firm else 1.0
        weight = 1.0 / (guess * abs(mean) if direction else 2.0 * STILL) ** 2
        total, value = weight, weight * mean
        for use in self.uses(step.name):
            growth = self.evidence.growth(use, resource) if len(use.steps) == 1 else None
            if growth is not None:
                weight = 1.0 / (0.2 * abs(growth) + STILL) ** 2
                total, value = total + weight, value + weight * growth / use.steps[0].scale
        return value / total, math.sqrt(1.0 / total)

    def _fits_by_labels(self, candidate: Candidate, resource: Resource) -> float:
        """Where the use is not on record: how often these steps went over, at this strength or a gentler."""
        chance = 1.0
        for step in candidate.steps:
            good, bad = 0.0, 0.0
            for use in self.uses(step.name):
                scale = next(other.scale for other in use.steps if other.name == step.name)
                if self.evidence.catalogue.broken(use.entry) is resource:
                    bad += 1.0 if step.scale >= scale else 0.3
                elif step.scale <= scale:
                    good += 1.0
            chance *= (9.5 + good) / (10.0 + good + 8.0 * bad)
        return chance
