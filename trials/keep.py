"""Keep rules: is a valid score better than the best so far? Pure, no database."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trials import confirm
from trials.vocab import Direction, KeepRule, Label


def decide(rule: KeepRule, direction: Direction, score: float, best: float, noise_sd: float | None = None) -> Label:
    """The label of a valid score.

    ``strict`` is the paper's rule: keep when strictly better than the best at record time (PAPER.md B). ``verified``
    calls provisional what leads the best by ``confirm.MARGIN`` times ``noise_sd``; ``trials.confirm`` has the rest.
    Raises ValueError when ``score`` is not finite, and when ``verified`` is not told the noise.
    """
    if not math.isfinite(score):
        raise ValueError(f"score is {score!r}, expected a finite number")
    if rule is KeepRule.STRICT:
        return Label.KEEP if direction.better(score, best) else Label.DISCARD
    if noise_sd is None:
        raise ValueError("the keep rule verified needs the noise, expected a calibrated campaign")
    promising = confirm.lead(direction, score, best) > confirm.MARGIN * noise_sd
    return Label.PROVISIONAL if promising else Label.DISCARD


def other_machine(measured: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    """How the machine of a measurement differs from that of the baseline, empty where it does not or is not known.

    Both are fingerprints as evaluators record them. Scores of two machines are not equal to the bit, times not at all.
    """
    if not measured or not baseline:
        return ""
    names = [name for name in {**baseline, **measured} if measured.get(name) != baseline.get(name)]
    return "; ".join(f"{name} {_told(measured, name)} instead of {_told(baseline, name)}" for name in names)


def _told(fingerprint: Mapping[str, Any], name: str) -> str:
    return str(fingerprint.get(name, "none"))
