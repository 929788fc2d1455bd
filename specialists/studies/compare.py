"""The test that a study named beforehand. Pure: values of two arms in, n, effect and p out.

Loaded where a report is computed only: scipy is not for every worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from specialists.studies.plan import MANN_WHITNEY

#: Splits of the repeats that are tried: all of them up to ten against ten, beyond that a random sample with this seed.
RESAMPLES, BATCH, SEED = 200_000, 10_000, 0


def comparisons(test: Mapping[str, Any], values: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """The arm on trial against each other one: n of both, effect, p and Holm's p.

    effect: difference of medians in percentage points; superiority: chance that a repeat of the arm beats one of the
    other, ties half. p is None where an arm has fewer than two repeats; then nothing is decided.
    """
    mine = list(values.get(test["arm"], ()))
    found = []
    for name in test["against"]:
        other = list(values.get(name, ()))
        found.append(
            {
                "arm": test["arm"],
                "against": name,
                "n": [len(mine), len(other)],
                "effect": float(np.median(mine) - np.median(other)) if mine and other else None,
                "superiority": superiority(mine, other),
                "p": p_value(test["name"], mine, other),
            }
        )
    for row, adjusted in zip(found, holm([row["p"] for row in found]), strict=True):
        row["p_holm"] = adjusted
        row["significant"] = None if adjusted is None else adjusted < test["alpha"]
    return found


def superiority(mine: Sequence[float], other: Sequence[float]) -> float | None:
    """Share of pairs that ``mine`` wins, ties counted half: U / (n m)."""
    if not mine or not other:
        return None
    wins = sum((a > b) + 0.5 * (a == b) for a in mine for b in other)
    return float(wins / (len(mine) * len(other)))


def p_value(name: str, mine: Sequence[float], other: Sequence[float]) -> float | None:
    """Chance of so large an advantage of ``mine`` if the arms were alike."""
    if min(len(mine), len(other)) < 2:
        return None
    rng = np.random.default_rng(SEED)
    if name == MANN_WHITNEY:
        method = stats.PermutationMethod(n_resamples=RESAMPLES, batch=BATCH, rng=rng)
        return float(stats.mannwhitneyu(mine, other, alternative="greater", method=method).pvalue)
    found = stats.permutation_test(
        (mine, other),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        alternative="greater",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        rng=rng,
    )
    return float(found.pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment (1979): error over all comparisons. What has no p counts among them and gets none."""
    order = sorted((p, at) for at, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, at) in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * p))
        adjusted[at] = largest
    return adjusted
