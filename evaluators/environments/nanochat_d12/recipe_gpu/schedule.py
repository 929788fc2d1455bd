"""How long training lasts and how the rate moves meanwhile."""

import math

#: The evaluator measures the wall clock, so a step that costs less leaves room for more steps. Its figure
#: ``budget_used`` says how much of the budget a run took; more than 1 of it is an overrun.
TOKENS_PER_PARAMETER: float = 12.0
#: Training stops at this share of the budget at the latest, so that packing fits into it as well.
TRAIN_SHARE: float = 0.95
WARMUP: float = 0.02
FINAL_RATE: float = 0.05


def steps(parameters: int, batch_tokens: int) -> int:
    """Updates of a run of a model of so many parameters, each from so many tokens."""
    return max(1, math.ceil(TOKENS_PER_PARAMETER * parameters / batch_tokens))


def fraction(number: int, count: int, spent: float) -> float:
    """How far a run is: the share of its updates or of its time, whichever is gone first. spent: of the budget."""
    return max(number / count, spent / TRAIN_SHARE)


def rate(fraction: float) -> float:
    """Share of the peak rate at a fraction of the run: linear warm-up, then a cosine to FINAL_RATE."""
    if fraction < WARMUP:
        return (fraction + 0.0005) / (WARMUP + 0.0005)
    progress = min(1.0, (fraction - WARMUP) / (1.0 - WARMUP))
    return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))
