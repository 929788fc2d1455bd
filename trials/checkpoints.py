"""Where a campaign asks a person, in plain values and in words. Pure.

``Campaign.checkpoints`` is ``{}`` where nobody is asked; else it may have ``keeps`` (true: a person approves what
becomes the base) and a step for each budget: ``trials``, ``hours``, ``usd``. A person is asked when a step is used up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trials.vocab import Subject

BUDGETS = (Subject.TRIALS, Subject.HOURS, Subject.USD)
NOBODY = "nobody: no person was asked during this search"


def asked_where(checkpoints: Mapping[str, Any]) -> str:
    """All the places at which a person is asked, on one line."""
    parts = ["before a keep becomes the base"] if checkpoints.get("keeps") else []
    parts += [f"after each {amount(name, checkpoints[name])}" for name in BUDGETS if name in checkpoints]
    return ", ".join(parts) or NOBODY


def amount(subject: str, value: float) -> str:
    """So much of a budget, with its unit."""
    if subject == Subject.TRIALS:
        return f"{value:,.0f} trial{'' if value == 1 else 's'}"
    return f"{value:,.2f} US dollars" if subject == Subject.USD else f"{value:,.2f} hours"


def told(questions: Sequence[tuple[str, int | None, float | None]]) -> str:
    """What is asked: subject, trial number and use of each question."""
    keeps = [str(number) for subject, number, _ in questions if subject == Subject.KEEP]
    parts = [f"trial {', '.join(keeps)} as the base"] if keeps else []
    budgets = [(subject, used or 0.0) for subject, _, used in questions if subject != Subject.KEEP]
    return " and ".join([*parts, *(f"going on after {amount(subject, used)}" for subject, used in budgets)])
