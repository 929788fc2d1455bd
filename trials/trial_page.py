"""All that the page of one trial shows, as plain values. Every list and text is bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trials import analytics, charts, diffview, report, tallies
from trials.again import again
from trials.chain import chain_hash
from trials.confirm import MOST_PAIRS
from trials.formatting import score, visible, words
from trials.live import campaign_head, trial_row
from trials.models import Confirmation, Evaluation, Event, Measurement, Trial
from trials.services.blobs import get_blobs, get_log, get_text
from trials.services.confirmations import seeds_of
from trials.standing import told
from trials.vocab import OPEN_TRIAL_STATES, VALID, EvaluationState, Label

LOG_CHARACTERS = 24_000
VIEW_CHARACTERS = 60_000
CHILDREN = 24
ROUNDS = 12
EVENTS = 60
MEASUREMENTS = 40


def context(trial: Trial) -> dict[str, Any]:
    """Values for ``trials/trial.html``."""
    campaign = trial.campaign
    measurements = [
        _measurement(row)
        for row in Measurement.objects.filter(trial=trial).select_related("evaluation").order_by("pk")[:MEASUREMENTS]
    ]
    deciding: dict[str, Any] = next((row["record"] for row in measurements if row["purpose"] == "trial"), {})
    log, removed_at = get_log(trial.log_id)
    notes = [(name, value) for name, value in _pairs(trial.proposal.get("notes")) if value not in (None, "", {}, [])]
    numbers = [trial.number] if trial.state in OPEN_TRIAL_STATES else []
    return {
        "campaign": campaign,
        "head": campaign_head(campaign),
        "trial": trial,
        "row": trial_row(trial),
        "phase": analytics.phases(campaign, numbers).get(trial.number) if numbers else None,
        "transforms": _texts(trial.proposal.get("transforms")),
        "paid": tallies.paid(trial.proposal.get("usd")),
        "session": _number(trial.proposal.get("session")),
        "evidence": _evidence(trial.proposal.get("evidence")),
        "notes": [pair for pair in notes if not isinstance(pair[1], dict | list)],
        "working": {name: value for name, value in notes if isinstance(value, dict | list)},
        "similar": _similar(trial.proposal.get("similar")),
        "again": again(trial),
        "confirmations": [_confirmation(row) for row in trial.confirmations.select_related("incumbent")[:ROUNDS]],
        "approvals": report.questions(trial.approvals.select_related("trial")) if campaign.checkpoints else [],
        "numbers": trial.numbers.items(),
        "cap": campaign.spec.get("profile", {}).get("limits", {}).get("artifact_bytes"),
        "split": charts.time_split({name: getattr(trial, f"{name}_seconds") for name in analytics.SECONDS}),
        "diffs": diff_of(trial),
        "measurements": measurements,
        "isolation": deciding.get("isolation") or {},
        "below_l3": bool(deciding.get("isolation")) and str(deciding["isolation"].get("level", "")) < "L3",
        "fingerprint": deciding.get("fingerprint") or {},
        "deciding": deciding,
        "log": cut_middle(log, LOG_CHARACTERS),
        "log_removed_at": removed_at,
        "view": cut_middle(get_text(trial.lineage_view_id), VIEW_CHARACTERS),
        "events": events_of(trial),
        "children": list(
            Trial.objects.of(campaign.pk)
            .filter(parent=trial)
            .only("number", "role", "state", "standing", "score", "delta_vs_parent")
            .newest(CHILDREN)
        ),
        "is_fault": trial.label == Label.HARNESS_ABORT or bool(trial.numbers.get("infrastructure")),
        "no_source": trial.parent is not None and None in (trial.source_id, trial.parent.source_id),
        **_neighbours(trial),
    }


def _neighbours(trial: Trial) -> dict[str, int | None]:
    """Numbers of the trials before and after: released runs may have gaps. ``following``: what a new one would get."""
    numbers = Trial.objects.of(trial.campaign_id).order_by("number").values_list("number", flat=True)
    return {
        "previous": numbers.filter(number__lt=trial.number).last(),
        "next": numbers.filter(number__gt=trial.number).first(),
        "following": trial.number + 1,
    }


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _number(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _evidence(value: object) -> list[dict[str, Any]]:
    """Trials that an agent named as its reasons; whole numbers become links."""
    found = value if isinstance(value, list) else []
    return [{"text": str(item), "number": item if type(item) is int and item >= 0 else None} for item in found]


def _similar(value: object) -> list[dict[str, Any]]:
    """Earlier trials with a near-duplicate hypothesis, as the session found them."""
    found = value if isinstance(value, list) else []
    return [item for item in found if isinstance(item, dict) and type(item.get("trial")) is int and item["trial"] >= 0]


def _confirmation(row: Confirmation) -> dict[str, Any]:
    """One round: how it stands in words, and what was measured seed by seed."""
    return {
        "round": row.round,
        "incumbent": row.incumbent.number,
        "state": row.ruling or Label.PROVISIONAL,
        "ruling": row.ruling,
        "told": row.reason or told(row),
        "pairs": row.pairs,
        "most": MOST_PAIRS,
        "seeds": [
            {
                "seed": seed.seed,
                "candidate": _measured(seed.candidate),
                "incumbent": _measured(seed.incumbent),
                "difference": None if seed.pair is None else seed.pair.candidate - seed.pair.incumbent,
            }
            for seed in seeds_of(row)
        ],
    }


def _measured(order: Evaluation | None) -> str:
    """A score, or how far the measurement is."""
    if order is None:
        return "not ordered yet"
    if order.state != EvaluationState.JUDGED:
        return words(order.state)
    return score(order.outcome["score"]) if order.outcome["label"] == VALID else words(order.outcome["label"])


def _pairs(value: object) -> list[tuple[str, object]]:
    return [(str(name), item) for name, item in value.items()] if isinstance(value, dict) else []


def _measurement(row: Measurement) -> dict[str, Any]:
    record = row.record
    return {
        "purpose": row.purpose,
        "split": row.split,
        "seed": row.seed,
        "status": row.status,
        "score": row.score,
        "worker": row.worker,
        "attempt": row.evaluation.attempt,
        "created_at": row.created_at,
        "sha256": row.sha256,
        "record": record,
        "code_bytes": record.get("code_bytes"),
        "payload_bytes": record.get("payload_bytes"),
        "train_units": record.get("train_units"),
        "eval_units": record.get("eval_units"),
        "seconds": _phases(record),
    }


def _phases(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Wall-clock and CPU seconds of each phase that either of them names."""
    wall, cpu = record.get("seconds") or {}, record.get("cpu_seconds") or {}
    return [{"name": name, "wall": wall.get(name), "cpu": cpu.get(name)} for name in dict.fromkeys([*wall, *cpu])]


def diff_of(trial: Trial) -> list[diffview.FileDiff]:
    """The trial's source beside its parent's; only files that differ are read. Empty without both."""
    if trial.parent is None or trial.source_id is None or trial.parent.source_id is None:
        return []
    return diff_between(trial.parent.source_id, trial.source_id)


def diff_between(one: str, other: str) -> list[diffview.FileDiff]:
    """Files that differ between two source trees (hashes), in two queries."""
    trees = get_blobs([one, other])
    before, after = (json.loads(trees[sha256])["files"] for sha256 in (one, other))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    stored = get_blobs(files[name] for files in (before, after) for name in names if name in files)
    return diffview.diff_files(
        {name: stored[before[name]] for name in names if name in before},
        {name: stored[after[name]] for name in names if name in after},
    )


def cut_middle(text: str, limit: int) -> dict[str, Any]:
    """Start and end of a long text: ``head``, ``hidden`` characters left out, ``tail``."""
    text = visible(text)
    if len(text) <= limit:
        return {"head": text, "hidden": 0, "tail": ""}
    half = limit // 2
    return {"head": text[:half], "hidden": len(text) - 2 * half, "tail": text[-half:]}


def events_of(trial: Trial) -> list[dict[str, Any]]:
    """Ledger lines of the trial, oldest first, each with a fresh check of its own hash."""
    rows = Event.objects.filter(trial=trial).order_by("seq")[:EVENTS]
    return [
        {
            "seq": event.seq,
            "at": event.at,
            "kind": event.kind,
            "actor": event.actor,
            "payload": event.payload,
            "sha256": event.sha256,
            "previous": event.previous_sha256,
            "intact": event.sha256
            == chain_hash(
                seq=event.seq,
                at=event.at,
                kind=event.kind,
                actor=event.actor,
                trial=trial.number,
                body=event.body,
                previous=event.previous_sha256,
                salt=event.salt,
                redaction=event.redaction,
            ),
        }
        for event in rows
    ]
