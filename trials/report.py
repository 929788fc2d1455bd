"""The report of one campaign: every figure, computed from the record in one pass (definitions: docs/report.md).

``trials.services.reports`` keeps the newest one; the functions below that pages call cost the same at any size.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models.fields.json import KeyTextTransform, KeyTransform

from trials import confirm, counting, repairs
from trials.checkpoints import asked_where
from trials.counting import Outcome
from trials.edits import EditKind, kind_of
from trials.models import Approval, Blob, Campaign, Event, FrontierStep, Measurement, Rollup, Trial
from trials.services.blobs import get_blob
from trials.vocab import Label, Purpose

VERSION = 3  # of the definitions: a report of another version is computed again
CHAINS = 200
SCAN = 2_000
#: One letter per trial number in ``CampaignReport.edit_kinds``: no trial with a parent, no two sources, else the kind.
UNREAD, SOURCELESS = " ", "-"
LETTERS = {EditKind.SAME: "s", EditKind.KNOB: "k", EditKind.PROGRAM: "p"}


@dataclass(frozen=True)
class Built:
    """A report and what the next one need not compute again."""

    body: dict[str, Any]
    edit_kinds: str


def build_report(campaign: Campaign, known_edits: str = "") -> Built:
    """All figures of ``manage.py report``; ``known_edits`` from the report before."""
    rows = list(_outcomes(campaign))
    counted = [row for row in rows if row.counted]
    labels = Counter(row.label for row in rows)
    cells = [cell for cell in Rollup.objects.counts(campaign.pk, "label") if cell["label"] != Label.BASELINE]
    kinds = edit_kinds(campaign, known_edits)
    everything = counting.figures(rows, campaign.slots)
    ideas = [row for row in rows if not row.infrastructure]
    without = everything if len(ideas) == len(rows) else counting.figures(ideas, campaign.slots)
    body = {
        **_head(campaign),
        "trials": campaign.trial_count,
        "keeps": campaign.keep_count,
        "labels": dict(labels),
        "label_rates": counting.shares(Counter(row.label for row in counted)),
        "roles": counting.profiles(counted),
        "keep_rule": campaign.keep_rule,
        "start": campaign.start_score,
        "best": campaign.best_score,
        "relative_change_pct": None if campaign.improvement is None else 100.0 * campaign.improvement,
        "frontier": frontier(campaign),
        "sealed": sealed_scores(campaign),
        "hours": hours(campaign),
        "trials_per_hour": trials_per_hour(campaign),
        "parallel_efficiency": counting.efficiency(trials_per_hour(campaign), counted, campaign.slots),
        "machine_hours": {
            campaign.spec["profile"]["device"]: sum(_hours(cell) for cell in cells) + campaign.repeat_seconds / 3600.0
        },
        "machine_hours_by_label": {cell["label"]: _hours(cell) for cell in cells},
        "repeats": {"measurements": campaign.repeat_count, "machine_hours": campaign.repeat_seconds / 3600.0},
        "noise_sd": campaign.noise_sd,
        "origin": campaign.origin or None,
        "checkpoints": asked_where(campaign.checkpoints),
        "approvals": questions(Approval.objects.filter(campaign=campaign).select_related("trial")),
        "enforcement": campaign.enforcement,
        "boundary_crossings": campaign.crossing_count,
        "cross_role_keep_parent": counting.crossings(rows),
        "diversity": (everything if campaign.is_released_run else without)["diversity"],
        "diversity_by_role": counting.diversity_by_role(rows if campaign.is_released_run else ideas),
        "infrastructure_failures": sum(row.infrastructure for row in rows),
        "infrastructure": {
            "with": everything,
            "without": without,
        },
        "repairs": _repairs(rows),
        "edits": _edits(kinds),
    }
    return Built(body, kinds)


def _head(campaign: Campaign) -> dict[str, Any]:
    return {
        "campaign": campaign.slug,
        "state": campaign.state,
        "state_reason": campaign.state_reason,
        "environment": campaign.environment,
        "profile": campaign.profile,
        "roster": campaign.roster,
        "score_name": campaign.score_name,
        "direction": campaign.direction,
        "score_source": campaign.score_source,
        "released_run": campaign.is_released_run,
        "synthetic": "synthetic" in campaign.spec,
        "at_event": campaign.last_seq,
    }


def _outcomes(campaign: Campaign) -> Iterator[Outcome]:
    """Finished trials but the baseline, by number."""
    rows = (
        Trial.objects.of(campaign.pk)
        .finished()
        .exclude(label=Label.BASELINE)
        .order_by("number")
        .values_list(
            "number", "role", "standing", "parent__number", "parent__role", "hypothesis", "finished_at",
            "run_seconds", "eval_seconds", "log_seconds",
            KeyTransform("infrastructure", "numbers"), KeyTextTransform("repairs", KeyTransform("notes", "proposal")),
        )
    )  # fmt: skip
    uncounted = campaign.uncounted_labels
    for number, role, label, parent, parent_role, hypothesis, at, *seconds, failed, repaired in rows.iterator(SCAN):
        yield Outcome(
            number=number,
            role=role,
            label=label,
            parent=parent,
            parent_role=parent_role or "",
            hypothesis=hypothesis,
            at=at,
            seconds=sum(value or 0.0 for value in seconds),
            counted=label not in uncounted,
            infrastructure=label == Label.HARNESS_ABORT or bool(failed),
            repairs=int(repaired) if repaired and repaired.isdigit() and len(repaired) < 10 else None,
        )


def _hours(cell: dict[str, Any]) -> float:
    return float(cell["run_seconds"] + cell["eval_seconds"]) / 3600.0


def _repairs(rows: Sequence[Outcome]) -> dict[str, Any]:
    """Boundary failures, how many of them were mended, and the newest chains."""
    found = repairs.chains(
        repairs.Attempt(row.number, row.label, row.parent, row.hypothesis, row.repairs) for row in rows
    )
    mended = {failed for chain in found for failed in chain.failures}
    return {
        "boundary_failures": sum(row.label in repairs.BOUNDARY_LABELS for row in rows),
        "mended": len(mended),
        "by_keeps": len({failed for chain in found if chain.label == Label.KEEP for failed in chain.failures}),
        "count": len(found),
        "chains": [
            {"failures": list(chain.failures), "mended_by": chain.mended_by, "label": chain.label, "by": chain.by}
            for chain in found[-CHAINS:]
        ],
    }


def _edits(kinds: str) -> dict[str, Any]:
    """Shares of knob-only and program-level edits among those whose sources are on record."""
    counts = {kind: kinds.count(letter) for kind, letter in LETTERS.items()}
    compared = sum(counts.values())
    return {
        "compared": compared,
        **{kind.value: count for kind, count in counts.items()},
        "knob_share": counts[EditKind.KNOB] / compared if compared else None,
        "program_share": counts[EditKind.PROGRAM] / compared if compared else None,
    }


def edit_kinds(campaign: Campaign, known: str) -> str:
    """One letter for each number from 0: kind of edit against the parent, where both sources are on record."""
    letters = list(known.ljust(campaign.last_number + 1, UNREAD))
    rows = (
        Trial.objects.of(campaign.pk)
        .filter(number__gte=len(known), parent__isnull=False)
        .order_by("parent_id", "number")  # a parent's files are parsed once for its children
        .values_list("number", "source_id", "parent__source_id")
    )
    for number, after, before in rows.iterator(SCAN):
        letters[number] = _letter(before, after)
    return "".join(letters)


def _letter(before: str | None, after: str | None) -> str:
    """No kind where a source was not released, or was withheld by the bundle that the campaign came in."""
    if before is None or after is None:
        return SOURCELESS
    try:
        return LETTERS[_kind(before, after)]
    except (Blob.DoesNotExist, json.JSONDecodeError):
        return SOURCELESS


def _kind(before: str, after: str) -> EditKind:
    old, new = (json.loads(get_blob(sha256))["files"] for sha256 in (before, after))
    if old.keys() != new.keys():
        return EditKind.PROGRAM
    names = [name for name in old if old[name] != new[name]]
    return kind_of({name: get_blob(old[name]) for name in names}, {name: get_blob(new[name]) for name in names})


def frontier(campaign: Campaign) -> list[dict[str, Any]]:
    """Improvements in the order of recording: trial number, score, role. The start is not one of them."""
    steps = FrontierStep.objects.filter(campaign=campaign, number__gt=0).select_related("trial").order_by("id")
    return [{"trial": step.number, "score": step.score, "role": step.trial.role} for step in steps]


def hours(campaign: Campaign) -> float | None:
    """Hours from the first counted trial's record to the last; None before there are two."""
    first = (
        Trial.objects.of(campaign.pk)
        .finished()
        .exclude(label__in={*campaign.uncounted_labels, Label.BASELINE})
        .order_by("number")
        .values_list("finished_at", flat=True)
        .first()
    )
    if first is None or campaign.last_recorded_at is None:
        return None
    return float((campaign.last_recorded_at - first).total_seconds() / 3600.0)


def trials_per_hour(campaign: Campaign) -> float | None:
    """N / (last record time - first submitted trial's record time), the baseline left out."""
    elapsed = hours(campaign)
    return campaign.trial_count / elapsed if elapsed else None


def sealed_scores(campaign: Campaign) -> dict[str, Any]:
    """Start and best on the sealed test split, once they are measured: means, 95 % intervals, their difference.

    ``difference`` is best less start with Welch's interval; intervals are [low, high], None for a single seed.
    """
    best = None if campaign.best_trial is None else campaign.best_trial.number
    rows = Measurement.objects.filter(campaign=campaign, purpose=Purpose.SEALED).order_by("evaluation_id")
    scores: dict[int | None, list[float]] = defaultdict(list)
    for number, score in rows.values_list("trial__number", "score"):
        if score is not None:
            scores[number].append(score)
    found: dict[str, Any] = {"seeds": max(map(len, scores.values()), default=0)}
    for name, measured in (("start", scores.get(0)), ("best", scores.get(best))):
        told = None if measured is None else confirm.interval(measured)
        found[name], found[f"{name}_interval"] = (None, None) if told is None else (told.mean, _ends(told))
    gap = confirm.difference(scores[best], scores[0]) if best and {0, best} <= set(scores) else None
    found["difference"], found["difference_interval"] = (None, None) if gap is None else (gap.mean, _ends(gap))
    return found


def _ends(told: confirm.Interval) -> list[float] | None:
    return None if told.low is None or told.high is None else [told.low, told.high]


def questions(asked: Iterable[Approval]) -> list[dict[str, Any]]:
    """What people were asked and what they answered, by whom and when; ``answer`` is None while nobody has.

    ``by`` is None where a bundle withheld the name, ``loop`` or ``judge`` where no person was needed any more.
    """
    rows = list(asked)
    seqs = [row.answered_seq for row in rows if row.answered_seq is not None]
    events = Event.objects.filter(campaign__in={row.campaign_id for row in rows}, seq__in=seqs)
    actors: dict[int | None, str] = dict(events.values_list("seq", "actor"))
    return [
        {
            "subject": row.subject,
            "trial": None if row.trial is None else row.trial.number,
            "score": row.score,
            "used": row.used,
            "asked_at": row.asked_at.isoformat(),
            "answer": row.answer or None,
            "by": actors.get(row.answered_seq) or None,
            "answered_at": None if row.answered_at is None else row.answered_at.isoformat(),
            "remark": row.remark,
        }
        for row in rows
    ]
