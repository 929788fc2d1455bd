"""From a measurement to a verdict. Pure: cap and gate are applied to the figures that the log gave."""

from __future__ import annotations

import math
from decimal import Decimal

from evaluators.contract import Measurement, Outcome, Profile
from evaluators.harness.verdicts import FAILURES
from trials.vocab import VALID, Label


def judge(measurement: Measurement, profile: Profile) -> Outcome:
    """``valid`` with its score, or the label that the measurement deserves with the exact figures.

    Raises ValueError for a status that is neither ``ok`` nor a failure label.
    """
    if measurement.status != "ok":
        if measurement.status not in FAILURES:
            raise ValueError(f"status {measurement.status!r} is unknown, expected ok or a failure label")
        return Outcome(Label(measurement.status), measurement.reason, None, dict(measurement.numbers))
    return _size(measurement, profile) or _gate(measurement, profile) or _score(measurement)


def _size(measurement: Measurement, profile: Profile) -> Outcome | None:
    size, cap = measurement.artifact_bytes, profile.limits.artifact_bytes
    if cap is None:
        return None
    if size is None:
        return Outcome(Label.INVALID_RESULT, "the log tells no size", None, {})
    if size > cap:
        return Outcome(Label.SIZE_BLOCKED, f"{size - cap:,} bytes over", None, {"bytes_over": size - cap})
    return None


def _gate(measurement: Measurement, profile: Profile) -> Outcome | None:
    minimum, value = profile.settings.get("gate_minimum"), measurement.secondary.get("gate")
    if minimum is None:
        return None
    if value is None:
        return Outcome(Label.INVALID_RESULT, "the log tells nothing of the gate", None, {})
    short = Decimal(str(minimum)) - Decimal(str(value))  # of the decimals that were written, not of their neighbours
    if short > 0:
        numbers = {"gate": float(str(minimum)), "value": value, "deficit": float(short)}
        return Outcome(Label.DISQUALIFIED, f"{short} below the gate of {minimum}", None, numbers)
    return None


def _score(measurement: Measurement) -> Outcome:
    if measurement.score is None or not math.isfinite(measurement.score):
        return Outcome(Label.INVALID_RESULT, f"the score is {measurement.score}, expected a finite number", None, {})
    return Outcome(VALID, "", measurement.score, dict(measurement.numbers))
