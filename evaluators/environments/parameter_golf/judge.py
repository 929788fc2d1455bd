"""From a measurement to a verdict. Pure: limits are applied again to the figures, whatever the status says."""

from __future__ import annotations

import math

from evaluators.contract import Measurement, Outcome, Profile
from evaluators.harness.verdicts import FAILURES, over_seconds
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
    return _size(measurement, profile) or _units(measurement, profile) or _score(measurement, profile)


def _size(measurement: Measurement, profile: Profile) -> Outcome | None:
    size, cap = measurement.artifact_bytes, profile.limits.artifact_bytes
    if size is None:
        return Outcome(Label.INVALID_RESULT, "no artifact", None, {})
    if cap is not None and size > cap:
        return Outcome(Label.SIZE_BLOCKED, f"{size - cap:,} bytes over", None, {"bytes_over": size - cap})
    return None


def _units(measurement: Measurement, profile: Profile) -> Outcome | None:
    limits = profile.limits
    for label, spent, budget in (
        (Label.TRAIN_BUDGET_OVERRUN, measurement.train_units, limits.train_units),
        (Label.EVAL_BUDGET_OVERRUN, measurement.eval_units, limits.eval_units),
    ):
        if spent is not None and budget is not None and spent > budget * (1 + limits.unit_tolerance):
            numbers = {"units": spent, "units_over": spent - budget}
            return Outcome(label, f"{spent:,} units of {budget:,}, {spent - budget:,} over", None, numbers)
    return None


def _score(measurement: Measurement, profile: Profile) -> Outcome:
    score, floor = measurement.score, float(str(profile.settings["implausible_score"]))
    if score is None or not math.isfinite(score):
        return Outcome(Label.INVALID_RESULT, f"the score is {score}, expected a finite number", None, {})
    if score < floor:
        reason = f"implausibly good: {score:.4f} bits per byte, nothing below {floor} is believed"
        return Outcome(Label.INVALID_RESULT, reason, None, {"score": score, "floor": floor})
    spent = {"train_units": measurement.train_units, "eval_units": measurement.eval_units}
    numbers = {name: units for name, units in spent.items() if units is not None}
    return Outcome(VALID, "", score, {**measurement.numbers, **numbers})
