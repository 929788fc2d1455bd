"""Why a trial counts as what it counts: the recorded reason and, of a provisional one, how its confirmation stands."""

from __future__ import annotations

from trials.models import Confirmation, Trial
from trials.vocab import OPEN_TRIAL_STATES, Label, Ruling, TrialState

REASON_LENGTH = 160


def decision_of(trial: Trial) -> Confirmation | None:
    """The newest confirmation of a provisional trial, open or closed; None for any other trial."""
    if trial.label != Label.PROVISIONAL:
        return None
    return max(trial.confirmations.all(), key=lambda found: found.round, default=None)


def why(trial: Trial) -> str:
    """The reason of the outcome and, behind it, what the confirmation says so far."""
    decision = decision_of(trial)
    return "; ".join(filter(None, (trial.reason, "" if decision is None else told(decision))))


def told(confirmation: Confirmation) -> str:
    """One confirmation in words."""
    if confirmation.ruling == Ruling.ABANDONED:
        return "looked better, was not confirmed before the campaign ended"
    if confirmation.ruling:
        return f"{confirmation.ruling}: {confirmation.reason}"
    if confirmation.z is None or confirmation.bound is None:
        return "looks better, is being measured again on fresh seeds"
    seeds = "seed" if confirmation.pairs == 1 else "seeds"
    return f"looks better, z {confirmation.z:.2f} of {confirmation.bound:.2f} after {confirmation.pairs} fresh {seeds}"


def fate(trial: Trial) -> str:
    """What became of a trial, on one line: its standing, its gain over its parent, the reason."""
    if trial.state in OPEN_TRIAL_STATES:
        return "is still being measured"
    if trial.state == TrialState.CANCELLED:
        return "was cancelled before it was measured"
    gain = "" if trial.delta_vs_parent is None else f", {trial.delta_vs_parent:+.6f} against its parent"
    reason = " ".join(why(trial).split())[:REASON_LENGTH]
    return f"ended as {trial.standing}{gain}" + (f": {reason}" if reason else "")
