"""Why a trial counts as what it counts: the recorded reason and, of a provisional one, how its confirmation stands and
what a person says."""

from __future__ import annotations

from trials import checkpoints
from trials.models import Approval, Campaign, Confirmation, Trial
from trials.vocab import OPEN_TRIAL_STATES, Answer, Label, Ruling, TrialState

REASON_LENGTH = 160
#: What became of a question about a keep; empty: it waits.
ANSWERED = {
    "": "waits for a person to approve it as the base",
    Answer.APPROVED: "approved by a person",
    Answer.REFUSED: "refused by a person",
    Answer.OVERTAKEN: "a better one was approved meanwhile",
    Answer.ABANDONED: "nobody had answered when the campaign ended",
}


def decision_of(trial: Trial) -> Confirmation | None:
    """The newest confirmation of a provisional trial, open or closed; None for any other trial."""
    if trial.label != Label.PROVISIONAL:
        return None
    return max(trial.confirmations.all(), key=lambda found: found.round, default=None)


def question_of(trial: Trial) -> Approval | None:
    """The newest question to a person about a provisional trial; None where nobody was asked."""
    if trial.label != Label.PROVISIONAL:
        return None
    return max(trial.approvals.all(), key=lambda found: found.number, default=None)


def why(trial: Trial) -> str:
    """The reason of the outcome and, behind it, what the confirmation says so far and a person has said."""
    decision, question = decision_of(trial), question_of(trial)
    parts = (
        trial.reason,
        "" if decision is None or (question and not question.answer) else told(decision),
        "" if question is None else ANSWERED[question.answer],
    )
    return "; ".join(filter(None, parts))


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


def waiting_for(campaign: Campaign) -> str:
    """What a campaign waits for a person to approve, in words; empty when for nothing."""
    if not campaign.checkpoints:
        return ""
    found = list(Approval.objects.open(campaign.pk).values_list("subject", "trial__number", "used"))
    return f"waits for a person to approve {checkpoints.told(found)}" if found else ""
