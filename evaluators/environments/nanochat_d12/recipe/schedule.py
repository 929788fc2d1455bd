"""How long training lasts and how the rate moves meanwhile."""

import math

#: The evaluator measures CPU time, so a step that costs less leaves room for more steps. Its figure ``budget_used``
#: says how much of the budget a run took; more than 1.05 of it is an overrun.
STEPS_PER_SECOND: float = 6.5
WARMUP: float = 0.05
FINAL_RATE: float = 0.1


def steps(seconds: float) -> int:
    """Updates of a run whose budget is so many reference seconds."""
    return max(1, round(STEPS_PER_SECOND * seconds))


def rate(fraction: float) -> float:
    """Share of the peak rate at a fraction of the run: linear warm-up, then a cosine to FINAL_RATE."""
    if fraction < WARMUP:
        return (fraction + 0.005) / (WARMUP + 0.005)
    progress = min(1.0, (fraction - WARMUP) / (1.0 - WARMUP))
    return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))
