"""The chain of events read once from its beginning: does it hold, and what does it tell?"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trials.chain import chain_hash
from trials.invariants.violation import Violation
from trials.models import Campaign, Event
from trials.vocab import (
    UNCOUNTED_LABELS,
    Answer,
    EventKind,
    KeepRule,
    Label,
    Purpose,
    Ruling,
    Subject,
)

AT_ONCE = 2_000
FIELDS = (
    "seq", "at", "kind", "actor", "trial__number", "body", "salt", "redaction", "previous_sha256", "sha256",
)  # fmt: skip


@dataclass
class Told:
    """What the events say, by trial number.

    finished: label and score as recorded; standing: what counts; claims, returns: how often an attempt at a trial was
    begun, and handed back; crowned: number and score of each best, in order; removed: hashes of logs that went.
    """

    keep_rule: str
    submitted: Counter[int] = field(default_factory=Counter)
    closed: Counter[int] = field(default_factory=Counter)
    finished: dict[int, tuple[str, float | None]] = field(default_factory=dict)
    standing: dict[int, str] = field(default_factory=dict)
    claims: Counter[tuple[int, int]] = field(default_factory=Counter)
    returns: Counter[tuple[int, int]] = field(default_factory=Counter)
    crowned: list[tuple[int, float]] = field(default_factory=list)
    start: float | None = None
    counted: int = 0
    crossings: int = 0
    repeats: int = 0
    weight: int = 1
    removed: set[str] = field(default_factory=set)
    _asked: dict[int, float] = field(default_factory=dict)

    def hear(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Take one event in."""
        listener = _LISTENERS.get(kind)
        if listener is not None:
            listener(self, payload)

    def _launched(self, payload: Mapping[str, Any]) -> None:
        self.weight = payload.get("weight", 1)

    def _weighed(self, payload: Mapping[str, Any]) -> None:
        self.weight = payload["to"]

    def _removed(self, payload: Mapping[str, Any]) -> None:
        self.removed |= set(payload["logs"])

    def _submitted(self, payload: Mapping[str, Any]) -> None:
        self.submitted[payload["number"]] += 1

    def _started(self, payload: Mapping[str, Any]) -> None:
        self.claims[payload["number"], payload["attempt"]] += 1

    def _retried(self, payload: Mapping[str, Any]) -> None:
        if payload["purpose"] == Purpose.TRIAL:
            self.returns[payload["number"], payload["attempt"]] += 1

    def _finished(self, payload: Mapping[str, Any]) -> None:
        number, label, score = payload["number"], payload["label"], payload["score"]
        self.closed[number] += 1
        self.finished[number], self.standing[number] = (label, score), label
        self.counted += label not in UNCOUNTED_LABELS
        if label == Label.BASELINE:
            self.start = score
        if label in (Label.BASELINE, Label.KEEP) and score is not None:
            self.crowned.append((number, score))

    def _calibrated(self, payload: Mapping[str, Any]) -> None:
        self.start = payload["mean"]
        self.crowned[:1] = [(0, payload["mean"])]

    def _confirmed(self, payload: Mapping[str, Any]) -> None:
        self.standing[payload["number"]] = payload["standing"]
        if payload["ruling"] == Ruling.CONFIRMED:
            pairs = payload["numbers"]["pairs"]
            self.crowned.append((payload["number"], statistics.fmean(candidate for _, candidate, _ in pairs)))

    def _asked_for(self, payload: Mapping[str, Any]) -> None:
        if payload["subject"] == Subject.KEEP:
            self._asked[payload["number"]] = payload["score"]

    def _answered(self, payload: Mapping[str, Any]) -> None:
        if payload["subject"] != Subject.KEEP or self.keep_rule != KeepRule.STRICT:
            return  # by the rule ``verified`` the end of the confirmation says what follows
        number = payload["number"]
        if payload["answer"] == Answer.APPROVED:
            self.standing[number] = Label.KEEP
            self.crowned.append((number, self._asked[number]))
        elif payload["answer"] != Answer.ABANDONED:
            self.standing[number] = Label.DISCARD

    def _crossed(self, _: Mapping[str, Any]) -> None:
        self.crossings += 1

    def _repeated(self, _: Mapping[str, Any]) -> None:
        self.repeats += 1


_LISTENERS: dict[str, Callable[[Told, Mapping[str, Any]], None]] = {
    EventKind.TRIAL_SUBMITTED: Told._submitted,
    EventKind.TRIAL_STARTED: Told._started,
    EventKind.TRIAL_RETRIED: Told._retried,
    EventKind.TRIAL_FINISHED: Told._finished,
    EventKind.CAMPAIGN_CALIBRATED: Told._calibrated,
    EventKind.CONFIRMATION_CLOSED: Told._confirmed,
    EventKind.APPROVAL_ASKED: Told._asked_for,
    EventKind.APPROVAL_ANSWERED: Told._answered,
    EventKind.BOUNDARY_CROSSED: Told._crossed,
    EventKind.CAMPAIGN_LAUNCHED: Told._launched,
    EventKind.CAMPAIGN_WEIGHT: Told._weighed,
    EventKind.LOGS_REMOVED: Told._removed,
    EventKind.CALIBRATION_MEASURED: Told._repeated,
    EventKind.CONFIRMATION_MEASURED: Told._repeated,
    EventKind.SEALED_MEASURED: Told._repeated,
    EventKind.TRIAL_REMEASURED: Told._repeated,
}


def read_ledger(campaign: Campaign) -> tuple[Told, list[Violation]]:
    """What the events tell, and where the chain is broken: the first place of each kind. A few words a trial."""
    told, broken = Told(campaign.keep_rule), dict[str, Violation]()

    def report(kind: str, what: str) -> None:
        broken.setdefault(kind, Violation(campaign.slug, "chain", what))

    expected, head = 1, ""
    rows = Event.objects.filter(campaign=campaign).order_by("seq").values_list(*FIELDS)
    for seq, at, kind, actor, trial, body, salt, redaction, previous, sha256 in rows.iterator(chunk_size=AT_ONCE):
        if seq != expected:
            report("gap", f"event {expected} is missing, {seq} follows")
        if previous != head:
            report("link", f"event {seq} does not name the hash of the event before it")
        hashed = chain_hash(
            seq=seq, at=at, kind=kind, actor=actor, trial=trial, body=body, previous=previous, salt=salt,
            redaction=redaction,
        )  # fmt: skip
        if hashed != sha256:
            report("hash", f"event {seq} does not have the hash that it is filed under")
        expected, head = seq + 1, sha256
        if not campaign.is_released_run and campaign.bundle is None:
            told.hear(kind, json.loads(body))
    if (campaign.last_seq, campaign.head_sha256) != (expected - 1, head):
        report("head", f"the campaign's head is event {campaign.last_seq}, the newest event is {expected - 1}")
    return told, list(broken.values())
