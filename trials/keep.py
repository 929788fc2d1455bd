"""Keep rules: is a valid score better than the best so far? Pure, no database."""

from __future__ import annotations

import math

from trials.vocab import Direction, KeepRule, Label


def decide(rule: KeepRule, direction: Direction, score: float, best: float) -> Label:
    """``strict`` is the paper's rule: keep when strictly better than the best at record time (PAPER.md B).

    Raises ValueError when ``score`` is not finite: such a score never reaches a comparison.
    """
    if not math.isfinite(score):
        raise ValueError(f"score is {score!r}, expected a finite number")
    if rule is KeepRule.STRICT:
        return Label.KEEP if direction.better(score, best) else Label.DISCARD
    raise ValueError(f"unknown keep rule {rule!r}")
