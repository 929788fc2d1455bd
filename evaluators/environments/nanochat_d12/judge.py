"""From a measurement to a verdict. Pure: the budget is applied again to the figures, whatever the status says."""

from __future__ import annotations

import math

from evaluators.contract import Measurement, Outcome, Profile
from evaluators.harness.training_budget import over_budget
from evaluators.harness.verdicts import FAILURES, Verdict, over_seconds
from trials.vocab import VALID, Label


def judge(measurement: Measurement, profile: Profile) -> Outcome:
    """``valid`` with its score, or the label that the measurement deserves with the exact figures.

    Raises ValueError for a status that is neither ``ok`` nor a failure label.
    """
    if measurement.status != "ok":
        if measurement.status not in FAILURES:
            raise ValueError(f"status {measurement.status!r} is unknown, expected ok or a failure label")
        return Outcome(Label(measurement.status), measurement.reason, None, dict(measurement.numbers))
    late = over_seconds(measurement.seconds, profile.limits)
    if late is not None:
        return Outcome(late.status, late.reason, None, late.numbers)
    try:
        if not profile.limits.wallclock:
            over_budget(measurement.numbers, profile.limits.unit_tolerance)
    except Verdict as verdict:
        return Outcome(verdict.status, verdict.reason, None, verdict.numbers)
    return _units(measurement, profile) or _score(measurement, profile)


def _units(measurement: Measurement, profile: Profile) -> Outcome | None:
    spent, budget = measurement.eval_units, profile.limits.eval_units
    if spent is None or budget is None or spent <= budget * (1 + profile.limits.unit_tolerance):
        return None
    numbers = {"units": spent, "units_over": spent - budget}
    reason = f"{spent:,} units of {budget:,}, {spent - budget:,} over"
    return Outcome(Label.EVAL_BUDGET_OVERRUN, reason, None, numbers)


def _score(measurement: Measurement, profile: Profile) -> Outcome:
    score, most = measurement.score, float(str(profile.settings["implausible_score"]))
    if score is None or not math.isfinite(score):
        return Outcome(Label.INVALID_RESULT, f"the score is {score}, expected a finite number", None, {})
    if score > most:
        reason = f"implausibly good: centred accuracy {score:.4f}, nothing above {most} is believed"
        return Outcome(Label.INVALID_RESULT, reason, None, {"score": score, "ceiling": most})
    spent = {} if measurement.eval_units is None else {"eval_units": measurement.eval_units}
    # Which items were right is for comparing two measurements; whoever writes the next recipe must not see it.
    told = {name: value for name, value in measurement.numbers.items() if not name.startswith("correct_")}
    return Outcome(VALID, "", score, {**told, **spent})
