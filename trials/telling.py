"""An event in words, for the line that tells what happened last. Names and reasons in it are cut; pages escape them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trials.formatting import score, short, words
from trials.models import Event, Trial
from trials.standing import why
from trials.vocab import CampaignState, EventKind, Subject

OF_CAMPAIGNS = {
    EventKind.CAMPAIGN_LAUNCHED: "the search begins",
    EventKind.CAMPAIGN_CALIBRATED: "the noise of the start is known",
    EventKind.TRACE_IMPORTED: "a released run was imported",
    EventKind.LOGS_REMOVED: "old logs were removed",
    EventKind.APPROVAL_ANSWERED: "a person has answered",
    EventKind.RESTORE_ACCEPTED: "the record was accepted as it was restored",
}
OF_TRIALS = {
    EventKind.TRIAL_SUBMITTED: "is submitted",
    EventKind.BOUNDARY_CROSSED: "changes files of other roles",
    EventKind.TRIAL_STARTED: "is being measured",
    EventKind.TRIAL_RETRIED: "goes to another evaluator: the one before failed",
    EventKind.TRIAL_FINISHED: "is measured",
    EventKind.CALIBRATION_MEASURED: "was measured on one more seed, for the noise",
    EventKind.CONFIRMATION_OPENED: "looks better and is measured on fresh seeds",
    EventKind.CONFIRMATION_MEASURED: "was measured on a fresh seed",
    EventKind.CONFIRMATION_LOOKED: "is not decided yet",
    EventKind.CONFIRMATION_CLOSED: "is decided",
    EventKind.SEALED_MEASURED: "was measured on the sealed split",
    EventKind.REMEASURE_ORDERED: "is to be measured again",
    EventKind.TRIAL_REMEASURED: "was measured again",
    EventKind.REMEASURE_CANCELLED: "is not measured again after all",
    EventKind.TRIAL_IMPORTED: "was imported",
}
STATES = {
    CampaignState.RUNNING: "the search goes on",
    CampaignState.PAUSED: "the search is paused",
    CampaignState.FINALISING: "start and best are measured on the sealed split",
    CampaignState.FINISHED: "the search has ended",
    CampaignState.STOPPED: "the search was stopped",
    CampaignState.FAILED: "the search failed",
}
WITH_OUTCOME = {EventKind.TRIAL_FINISHED, EventKind.CONFIRMATION_CLOSED}


def told(event: Event, trial: Trial | None) -> str:
    """One line. Of an imported bundle that withholds what an event says, as much as its kind tells."""
    kind = EventKind(event.kind)
    if trial is not None and kind in OF_TRIALS:
        parts = [f"trial {trial.number} {OF_TRIALS[kind]}", words(trial.role)]
        if kind in WITH_OUTCOME:
            reason = short(why(trial))
            parts.append(f"{words(trial.standing)}: {reason}" if reason else words(trial.standing))
            parts.append("" if trial.score is None else score(trial.score))
        return " · ".join(filter(None, parts))
    return OF_CAMPAIGNS.get(kind) or _with_payload(kind, event.payload, trial)


def _with_payload(kind: EventKind, payload: Mapping[str, Any], trial: Trial | None) -> str:
    if kind is EventKind.CAMPAIGN_STATE and payload.get("to") in set(CampaignState):
        reason = short(str(payload.get("reason", "")))
        state = STATES[CampaignState(payload["to"])]
        return f"{state}: {reason}" if reason else state
    if kind is EventKind.CAMPAIGN_WEIGHT and "to" in payload:
        return f"the search now weighs {short(str(payload['to']), 20)} where campaigns share evaluators"
    if kind in (EventKind.SESSION_STARTED, EventKind.SESSION_ENDED) and "role" in payload:
        does = "begins" if kind is EventKind.SESSION_STARTED else "ends"
        return f"{words(short(str(payload['role']), 60))} {does} session {short(str(payload.get('session', '')), 20)}"
    if kind is EventKind.APPROVAL_ASKED:
        asks = payload.get("subject")
        if asks == Subject.KEEP and trial is not None:
            return f"a person is asked whether trial {trial.number} may be kept"
        return "a person is asked whether the search may use more"
    return words(kind)
