"""Writing a released run into the record: everything in one transaction, or nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from trials import ancestry, sketch
from trials.canonical import sha256_of
from trials.chain import BOUND, row_sha256
from trials.models import Campaign, FrontierStep, Rollup, Trial
from trials.services import tallies
from trials.services.blobs import put_blob, put_tree
from trials.services.campaigns import under_free_slug
from trials.services.events import append_event, append_imported, append_site_event
from trials.services.submissions import index_hypotheses
from trials.traces.folder import Trace, sources
from trials.traces.layouts import TraceError
from trials.traces.rows import Row
from trials.vocab import SCORED_LABELS, CampaignState, EventKind, KeepRule, Label, SiteEventKind, TrialState

ACTOR = "import"
ROWS_AT_ONCE = 1_000
TOLD_IN_EVENT = 200
UNKNOWN = ("diff", "lineage_view", "log")  # blobs that no released run has


@dataclass
class _Writing:
    """What is known while rows are written: primary keys, scores and skips by number, trials by source tree."""

    keys: Mapping[int, int]
    first_of: dict[str, int] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    skips: dict[int, int | None] = field(default_factory=dict)


def import_trace(
    trace: Trace, name: str, lineage: str = "", say: Callable[[str], None] = lambda line: None
) -> Campaign:
    """A finished campaign with every row of the run. Raises TraceError; nothing is written then."""
    if not name.strip() or len(name) > 120:
        raise TraceError(f"name is {name[:60]!r}, expected 1 to 120 characters")
    return under_free_slug(name, lambda slug: _write(trace, name, slug, lineage, say))


@transaction.atomic
def _write(trace: Trace, name: str, slug: str, lineage: str, say: Callable[[str], None]) -> Campaign:
    files = {path: {"sha256": put_blob((trace.folder / path).read_bytes()), "size": trace.files[path]}
             for path in trace.files}  # fmt: skip
    campaign = _campaign(trace, name, slug, lineage, files)
    append_event(campaign, EventKind.TRACE_IMPORTED, ACTOR, _told(trace, campaign, files))
    writing = _Writing(_keys(len(trace.rows), [row.number for row in trace.rows]))
    for start in range(0, len(trace.rows), ROWS_AT_ONCE):
        rows = trace.rows[start : start + ROWS_AT_ONCE]
        trials = Trial.objects.bulk_create([_trial(campaign, trace, row, writing) for row in rows])
        index_hypotheses(trials)
        payloads = (_payload(row, trial) for row, trial in zip(rows, trials, strict=True))
        append_imported(campaign, EventKind.TRIAL_IMPORTED, ACTOR, zip(payloads, trials, strict=True))
        say(f"{start + len(rows)} of {len(trace.rows)} trials written")
    _count(campaign, trace)
    _advance(campaign, trace, writing.keys)
    campaign.save()
    told = {"campaign": slug, "seq": campaign.last_seq, "head": campaign.head_sha256, "trials": len(trace.rows) - 1}
    append_site_event(SiteEventKind.IMPORTED, ACTOR, told)
    tallies.count_all(campaign, 0)
    return campaign


def _keys(count: int, numbers: list[int]) -> dict[int, int]:
    """Primary keys beforehand: a parent may stand anywhere, and a finished trial is never changed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence('trials_trial', 'id')) FROM generate_series(1, %s)", [count]
        )
        return dict(zip(numbers, (key for (key,) in cursor.fetchall()), strict=True))


def _campaign(trace: Trace, name: str, slug: str, lineage: str, files: Mapping[str, Any]) -> Campaign:
    layout, times = trace.layout, [row.at for row in trace.rows]
    roles = list(dict.fromkeys(row.role for row in trace.rows if row.number))
    spec: dict[str, Any] = {
        "name": layout.environment,
        "score_name": layout.score,
        "score_unit": layout.unit,
        "score_source": "log",
        "direction": layout.direction.value,
        "files": [],
        "joins": [],
        "profile": {"name": "released", "device": layout.machine, "limits": dict(layout.limits)},
        "trace": {"columns": list(trace.columns), "files": dict(files)},
    }
    return Campaign.objects.create(
        slug=slug,
        name=name,
        created_at=min(times),
        finished_at=max(times),
        environment=layout.environment,
        profile="released",
        spec=spec,
        spec_sha256=sha256_of(spec),
        roster="1 role" if len(roles) == 1 else f"{len(roles)} roles",
        roles=[{"name": role, "surface": [], "preamble": ""} for role in roles],
        proposer="released run",
        lineage=lineage,
        keep_rule=KeepRule.STRICT,
        direction=layout.direction,
        score_name=layout.score,
        minimum_level="",
        seed=0,
        max_trials=len(trace.rows) - 1,
        max_hours=(max(times) - min(times)).total_seconds() / 3600,
        slots=max(1, min(len(roles), 32_000)),
        no_improvement_hours=0.0,
        state=CampaignState.FINISHED,
        state_reason="imported: a released run",
        last_number=trace.rows[-1].number,
        recorded_number=trace.rows[-1].number,
    )


def _told(trace: Trace, campaign: Campaign, files: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": campaign.name,
        "environment": campaign.environment,
        "spec": campaign.spec,
        "roles": campaign.roles,
        "lineage": campaign.lineage,
        "keep_rule": campaign.keep_rule,
        "files": dict(files),
        "trials": len(trace.rows) - 1,
        "repaired": len(trace.repaired),
        "warnings": len(trace.warnings),
        "first_repaired": list(trace.repaired[:TOLD_IN_EVENT]),
        "first_warnings": list(trace.warnings[:TOLD_IN_EVENT]),
    }


def _payload(row: Row, trial: Trial) -> dict[str, Any]:
    """The row as it was written, and the hash of what it became."""
    values = {name: getattr(trial, name) for name in BOUND if name not in ("parent", "source", *UNKNOWN)}
    values |= dict.fromkeys(UNKNOWN) | {"parent": row.parent, "source": trial.source_id}
    became = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
    return {
        "line": row.line,
        "number": row.number,
        "cells": dict(row.cells),
        "label": trial.label,
        "score": trial.score,
        "row": row_sha256(became),
    }


def _trial(campaign: Campaign, trace: Trace, row: Row, writing: _Writing) -> Trial:
    files = sources(trace, row)
    tree = put_tree(files) if files else None
    twin = None if tree is None else writing.first_of.setdefault(tree, row.number)
    score = row.score if row.label in SCORED_LABELS else None
    if score is not None:
        writing.scores[row.number] = score
    above = None if row.parent is None else writing.scores.get(row.parent)
    run, evaluated = _seconds(trace, row)
    size = row.figures.get("artifact_bytes")
    return Trial(
        pk=writing.keys[row.number],
        campaign=campaign,
        number=row.number,
        role=row.role,
        parent_id=None if row.parent is None else writing.keys[row.parent],
        twin_of_id=None if twin in (None, row.number) else writing.keys[twin],
        depth=trace.depth[row.number],
        skip=_skip(trace, row, writing),
        hypothesis=row.hypothesis,
        expected_delta=row.expected,
        proposal={"notes": _notes(row)},
        source_id=tree,
        seed=0,
        state=TrialState.FINISHED,
        label=row.label,
        standing=row.label,
        reason=_reason(trace, row),
        failure="" if row.label in SCORED_LABELS else sketch.failure_key(row.label, _reason(trace, row)),
        score=score,
        delta_vs_best=row.delta,
        delta_vs_parent=None if score is None or above is None else score - above,
        numbers=_numbers(row, score),
        artifact_bytes=None if size is None else int(size),
        excerpt=row.notes,
        submitted_at=row.at,
        finished_at=row.at,
        run_seconds=run,
        eval_seconds=evaluated,
    )


def _skip(trace: Trace, row: Row, writing: _Writing) -> int | None:
    """None where the parent stands further down: its chain is then walked parent by parent."""
    if row.parent is None:
        return writing.skips.setdefault(row.number, None)
    above = writing.skips.get(row.parent)
    beyond = None if above is None else writing.skips.get(above)
    skip = ancestry.skip_number(row.parent, trace.depth[row.parent], beyond)
    return writing.skips.setdefault(row.number, skip)


def _notes(row: Row) -> dict[str, str]:
    """What the row says in words and has no field of its own."""
    notes = dict(row.texts)
    if row.parent is None and row.claimed:
        notes["parent, as written"] = row.claimed
    if row.expected is None and row.expected_text:
        notes["expected difference, as written"] = row.expected_text
    return notes


def _numbers(row: Row, score: float | None) -> dict[str, Any]:
    """Figures of the row; a score that its label does not allow to count stands here under another name."""
    whole = {name for name, value in row.figures.items() if value.is_integer() and "." not in row.cells[name]}
    numbers: dict[str, Any] = {name: int(value) if name in whole else value for name, value in row.figures.items()}
    if score is None and row.score is not None:
        numbers["logged_score"] = row.score
    if row.is_infrastructure:
        numbers["infrastructure"] = True
    return numbers


def _reason(trace: Trace, row: Row) -> str:
    """The margin by which a boundary was missed, where the row has the figures for it."""
    if row.is_infrastructure:
        return "a failure of the infrastructure, not of the idea"
    cap, size = trace.layout.limits.get("artifact_bytes"), row.figures.get("artifact_bytes")
    if row.label is Label.SIZE_BLOCKED and cap is not None and size is not None and size > cap:
        return f"{size - cap:,.0f} bytes over the cap of {cap:,}"
    gate, accuracy = trace.layout.gate, row.figures.get("accuracy")
    if row.label is Label.DISQUALIFIED and gate is not None and accuracy is not None and accuracy < gate:
        return f"{gate - accuracy:.5f} below the gate of {gate}"
    return ""


def _seconds(trace: Trace, row: Row) -> tuple[float | None, float | None]:
    """Seconds of machine time before and in evaluation; ``total_s`` holds both and what came before training."""
    total, evaluated = row.figures.get("total_s"), row.figures.get("eval_s")
    if trace.layout.per_seed and total is not None:
        total *= max(1.0, row.figures.get("n_seeds", 1.0))
    if total is None:
        return row.figures.get("train_s"), evaluated
    return max(0.0, total - (evaluated or 0.0)), evaluated


def _count(campaign: Campaign, trace: Trace) -> None:
    cells: dict[tuple[int, str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for row in trace.rows:
        hour = int((row.at - campaign.created_at).total_seconds() // 3600)
        run, evaluated = _seconds(trace, row)
        cell = cells[hour, row.role, row.label]
        cell[0] += 1
        cell[1] += run or 0.0
        cell[2] += evaluated or 0.0
    Rollup.objects.bulk_create(
        Rollup(
            campaign=campaign, hour=hour, role=role, label=label, trials=int(trials), run_seconds=run, eval_seconds=eva
        )
        for (hour, role, label), (trials, run, eva) in cells.items()
    )
    campaign.trial_count = len(trace.rows) - 1
    campaign.keep_count = sum(row.label is Label.KEEP for row in trace.rows)
    campaign.last_recorded_at = max(row.at for row in trace.rows)


def _advance(campaign: Campaign, trace: Trace, keys: Mapping[int, int]) -> None:
    """Start, best and frontier: keeps, as released, that are better than all keeps before them."""
    campaign.start_score = campaign.best_score = trace.rows[0].score
    best, steps = trace.rows[0], [trace.rows[0]]
    for row in trace.rows[1:]:
        if row.label is not Label.KEEP:
            continue
        campaign.last_keep_at = row.at
        if row.score is not None and best.score is not None and trace.layout.direction.better(row.score, best.score):
            best = row
            steps.append(row)
    campaign.best_score, campaign.best_trial_id = best.score, keys[best.number]
    FrontierStep.objects.bulk_create(
        FrontierStep(campaign=campaign, trial_id=keys[row.number], number=row.number, score=row.score, at=row.at)
        for row in steps
        if row.score is not None
    )
