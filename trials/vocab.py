"""Every state and label of the record, named once (standard library only)."""

from __future__ import annotations

from enum import StrEnum


class Label(StrEnum):
    """What became of a trial. Each comes with a machine-readable reason and exact numbers."""

    BASELINE = "baseline"
    KEEP = "keep"
    PROVISIONAL = "provisional"
    DISCARD = "discard"
    PREFLIGHT_CRASH = "preflight_crash"
    CRASH = "crash"
    SIZE_BLOCKED = "size_blocked"
    TRAIN_BUDGET_OVERRUN = "train_budget_overrun"
    EVAL_BUDGET_OVERRUN = "eval_budget_overrun"
    DISQUALIFIED = "disqualified"
    INVALID_RESULT = "invalid_result"
    RULE_VIOLATION = "rule_violation"
    HARNESS_ABORT = "harness_abort"


VALID = "valid"  # an outcome that nothing has been compared with yet; the keep rule turns it into a label

#: Labels whose trial has a score that may be compared.
SCORED_LABELS = frozenset({Label.BASELINE, Label.KEEP, Label.PROVISIONAL, Label.DISCARD})

#: Labels of trials that count as progress, at least until a confirmation decides.
HELD_LABELS = frozenset({Label.BASELINE, Label.KEEP, Label.PROVISIONAL})

#: Labels that are not counted as trials of the search.
UNCOUNTED_LABELS = frozenset({Label.BASELINE, Label.HARNESS_ABORT})


#: Labels of trials that gave no score to compare, by their own fault.
FAILED_LABELS: tuple[Label, ...] = tuple(
    label for label in Label if label not in SCORED_LABELS and label is not Label.HARNESS_ABORT
)


class TrialState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"


#: States in which a trial has no outcome yet.
OPEN_TRIAL_STATES = frozenset({TrialState.QUEUED, TrialState.RUNNING})


class EvaluationState(StrEnum):
    """A work order for an evaluator: queued, then leased, then measured, then judged."""

    QUEUED = "queued"
    RUNNING = "running"
    MEASURED = "measured"
    JUDGED = "judged"
    CANCELLED = "cancelled"


class Purpose(StrEnum):
    """Why a source tree is measured. Only ``trial`` gives a label; ``confirmation`` makes a provisional one stand.

    ``remeasure``: a person asked for it; nothing follows from it.
    """

    TRIAL = "trial"
    CALIBRATION = "calibration"
    CONFIRMATION = "confirmation"
    SEALED = "sealed"
    REMEASURE = "remeasure"


#: Measurements beside the search: they hold slots, and are no trials.
REPEATS = frozenset({Purpose.CALIBRATION, Purpose.CONFIRMATION})


class Ruling(StrEnum):
    """How the confirmation of a provisional trial ended."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    SUPERSEDED = "superseded"  # another trial became the best meanwhile: it goes on against that one
    REFUSED = "refused"  # the test confirmed it, a person did not approve it
    ABANDONED = "abandoned"  # the campaign was stopped


class Subject(StrEnum):
    """What a person is asked: whether a keep becomes the base, or whether more than so much may be used."""

    KEEP = "keep"
    TRIALS = "trials"
    HOURS = "hours"
    USD = "usd"


class Answer(StrEnum):
    """What became of a question to a person."""

    APPROVED = "approved"
    REFUSED = "refused"
    OVERTAKEN = "overtaken"  # another trial was approved meanwhile, and is better
    ABANDONED = "abandoned"  # the campaign ended before anybody answered


class CampaignState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    FINALISING = "finalising"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


#: States in which a campaign still holds slots or will ask for more.
LIVE_CAMPAIGN_STATES = frozenset({CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.FINALISING})


class Direction(StrEnum):
    LOWER = "lower"
    HIGHER = "higher"

    def better(self, candidate: float, incumbent: float) -> bool:
        """True when ``candidate`` is strictly better; NaN is never better."""
        return candidate < incumbent if self is Direction.LOWER else candidate > incumbent


class LineagePolicy(StrEnum):
    SHARED = "shared"
    OWN_ROLE = "own-role"
    NONE = "none"


class Enforcement(StrEnum):
    """What becomes of an edit outside its role's surface: refused, or measured and recorded as a crossing."""

    STRICT = "strict"
    ADVISORY = "advisory"


class KeepRule(StrEnum):
    """``strict`` keeps what scores better once; ``verified`` what goes on being better on fresh seeds."""

    VERIFIED = "verified"
    STRICT = "strict"


class EventKind(StrEnum):
    CAMPAIGN_LAUNCHED = "campaign_launched"
    CAMPAIGN_STATE = "campaign_state"
    CAMPAIGN_WEIGHT = "campaign_weight"
    SESSION_STARTED = "session_started"
    SESSION_ENDED = "session_ended"
    TRIAL_SUBMITTED = "trial_submitted"
    BOUNDARY_CROSSED = "boundary_crossed"
    APPROVAL_ASKED = "approval_asked"
    APPROVAL_ANSWERED = "approval_answered"
    TRIAL_STARTED = "trial_started"
    TRIAL_RETRIED = "trial_retried"
    TRIAL_FINISHED = "trial_finished"
    CALIBRATION_MEASURED = "calibration_measured"
    CAMPAIGN_CALIBRATED = "campaign_calibrated"
    CONFIRMATION_OPENED = "confirmation_opened"
    CONFIRMATION_MEASURED = "confirmation_measured"
    CONFIRMATION_LOOKED = "confirmation_looked"
    CONFIRMATION_CLOSED = "confirmation_closed"
    SEALED_MEASURED = "sealed_measured"
    REMEASURE_ORDERED = "remeasure_ordered"
    TRIAL_REMEASURED = "trial_remeasured"
    REMEASURE_CANCELLED = "remeasure_cancelled"
    TRACE_IMPORTED = "trace_imported"
    TRIAL_IMPORTED = "trial_imported"
    LOGS_REMOVED = "logs_removed"
    RESTORE_ACCEPTED = "restore_accepted"


class SiteEventKind(StrEnum):
    """Lines of the site's own chain: what concerns no campaign, or leaves one as it is."""

    FOUNDED = "founded"
    KEY_ADOPTED = "key_adopted"
    KEY_ROTATED = "key_rotated"
    LOGGED_IN = "logged_in"
    EXPORTED = "exported"
    IMPORTED = "imported"
    RESTORE_ACCEPTED = "restore_accepted"
    ROSTER_CHANGED = "roster_changed"
    ROSTER_DELETED = "roster_deleted"
    STUDY_LAUNCHED = "study_launched"
    STUDY_CAMPAIGN = "study_campaign"
    STUDY_STATE = "study_state"
    VISIBILITY_CHANGED = "visibility_changed"
    TOKEN_MADE = "token_made"  # noqa: S105 - a kind of event
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    MAINTENANCE = "maintenance"


class Notice(StrEnum):
    """What people are told of."""

    BEST = "best"
    FINISHED = "finished"
    STALLED = "stalled"
    BREAKER = "breaker"
    TEST = "test"


class DeliveryState(StrEnum):
    """A message: waits for its next attempt, has arrived, or was given up."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


class Scope(StrEnum):
    """What a token is for."""

    READ = "read"
    STEER = "steer"
