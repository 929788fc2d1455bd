"""From a measurement to a verdict. Pure: gate and limits are applied again to the figures, whatever the status says."""

from __future__ import annotations

import math

from evaluators.contract import Measurement, Outcome, Profile
from evaluators.harness.gate import Rules
from evaluators.harness.verdicts import FAILURES
from trials.vocab import VALID, Label


def judge(measurement: Measurement, profile: Profile) -> Outcome:
    """``valid`` with its score, or the label that the measurement deserves with the exact figures.

    Raises ValueError for a status that is neither ``ok`` nor a failure label.
    """
    if measurement.status != "ok":
        if measurement.status not in FAILURES | {Label.DISQUALIFIED}:
            raise ValueError(f"status {measurement.status!r} is unknown, expected ok or a failure label")
        return Outcome(Label(measurement.status), measurement.reason, None, dict(measurement.numbers))
    rules = Rules.of(profile)
    return _processes(measurement, rules) or _gate(measurement, rules) or _score(measurement, rules)


def _processes(measurement: Measurement, rules: Rules) -> Outcome | None:
    """Every process has run, within its allowances."""
    spent, walls = (
        [seconds for name, seconds in booked.items() if name.startswith("seed_")]
        for booked in (measurement.cpu_seconds, measurement.seconds)
    )
    if len(spent) != rules.processes:
        reason = f"{len(spent)} processes were measured, expected {rules.processes}"
        return Outcome(Label.INVALID_RESULT, reason, None, {"processes": len(spent)})
    allowed, most = rules.train_cpu_seconds + rules.eval_cpu_seconds, max(spent)
    if most > allowed:
        numbers = {"cpu_seconds": most, "cpu_seconds_over": round(most - allowed, 3)}
        return Outcome(Label.TRAIN_BUDGET_OVERRUN, f"CPU time: {most:.1f} s of {allowed:g} s", None, numbers)
    for what, seconds, cap in (
        ("of a process", max(walls, default=0.0), rules.process_seconds),
        ("of all processes", sum(walls), rules.trial_seconds),
    ):
        if seconds > cap:
            reason = f"wall clock {what}: {seconds:.1f} s of {cap:g} s"
            numbers = {"seconds": round(seconds, 3), "seconds_over": round(seconds - cap, 3)}
            return Outcome(Label.TRAIN_BUDGET_OVERRUN, reason, None, numbers)
    return None


def _gate(measurement: Measurement, rules: Rules) -> Outcome | None:
    correct, scored = (int(measurement.numbers.get(name, 0)) for name in ("correct", "scored"))
    if scored < 1:
        return Outcome(Label.INVALID_RESULT, "no prediction was scored", None, {})
    if rules.shortfall(correct, scored) <= 0:
        return None
    reason, numbers = rules.missed(correct, scored)
    return Outcome(Label.DISQUALIFIED, reason, None, {**measurement.numbers, **numbers})


def _score(measurement: Measurement, rules: Rules) -> Outcome:
    score, floor = measurement.score, rules.floor_seconds
    if score is None or not math.isfinite(score):
        return Outcome(Label.INVALID_RESULT, f"the score is {score}, expected a finite number", None, {})
    if score < floor:
        reason = f"implausibly fast: {score:.3f} s, nothing below {floor:g} s is believed"
        return Outcome(Label.INVALID_RESULT, reason, None, {"score": score, "floor": floor})
    return Outcome(VALID, "", score, {**measurement.numbers, "gate": float(rules.gate)})
