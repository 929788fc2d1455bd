"""The figures of one campaign as plain numbers (definitions: PAPER.md part B of the reference, docs/concepts.md).

Sums come from rollups, the frontier from its own rows; only keeps and sealed measurements are read trial by trial.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from trials.models import Campaign, FrontierStep, Measurement, Rollup, Trial
from trials.vocab import UNCOUNTED_LABELS, Label, Purpose

SECONDS = ("queue_seconds", "run_seconds", "eval_seconds", "log_seconds")


def build_report(campaign: Campaign) -> dict[str, Any]:
    """The report of ``manage.py report --json``."""
    cells = [cell for cell in Rollup.objects.counts(campaign.pk, "role", "label") if cell["label"] != Label.BASELINE]
    counted = [cell for cell in cells if cell["label"] not in UNCOUNTED_LABELS]
    start, best = campaign.start_score, campaign.best_score
    return {
        "campaign": campaign.slug,
        "state": campaign.state,
        "state_reason": campaign.state_reason,
        "trials": campaign.trial_count,
        "keeps": campaign.keep_count,
        "labels": _labels(cells),
        "roles": _roles(counted),
        "score_name": campaign.score_name,
        "score_source": campaign.score_source,
        "synthetic": "synthetic" in campaign.spec,
        "start": start,
        "best": best,
        "relative_change_pct": None if campaign.improvement is None else 100.0 * campaign.improvement,
        "frontier": frontier(campaign),
        "sealed": sealed_scores(campaign),
        "hours": hours(campaign),
        "trials_per_hour": trials_per_hour(campaign),
        "parallel_efficiency": parallel_efficiency(campaign, counted),
        "machine_hours": {campaign.spec["profile"]["device"]: _busy_seconds(cells) / 3600.0},
        "cross_role_keep_parent": cross_role_keep_parents(campaign),
        "origin": campaign.origin or None,
        "enforcement": campaign.enforcement,
        "boundary_crossings": campaign.crossing_count,
        "infrastructure_failures": sum(cell["trials"] for cell in cells if cell["label"] == Label.HARNESS_ABORT),
    }


def _labels(cells: list[dict[str, Any]]) -> dict[str, int]:
    labels: Counter[str] = Counter()
    for cell in cells:
        labels[cell["label"]] += cell["trials"]
    return dict(labels)


def _roles(counted: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    roles: dict[str, dict[str, Any]] = defaultdict(lambda: {"trials": 0, "keeps": 0, "labels": {}})
    for cell in counted:
        role = roles[cell["role"]]
        role["trials"] += cell["trials"]
        role["labels"][cell["label"]] = cell["trials"]
        role["keeps"] += cell["trials"] if cell["label"] == Label.KEEP else 0
    return dict(roles)


def _busy_seconds(cells: list[dict[str, Any]]) -> float:
    return float(sum(cell["run_seconds"] + cell["eval_seconds"] for cell in cells))


def frontier(campaign: Campaign) -> list[dict[str, Any]]:
    """Improvements in the order of recording: trial number, score, role. The start is not one of them."""
    steps = FrontierStep.objects.filter(campaign=campaign, number__gt=0).select_related("trial").order_by("number")
    return [{"trial": step.number, "score": step.score, "role": step.trial.role} for step in steps]


def hours(campaign: Campaign) -> float | None:
    """Hours from the first submitted trial's record to the last; None before there are two."""
    first = (
        Trial.objects.of(campaign.pk).finished().filter(number__gt=0).order_by("number").values_list("finished_at")[:1]
    )
    begun = first.first()
    if begun is None or campaign.last_recorded_at is None:
        return None
    return float((campaign.last_recorded_at - begun[0]).total_seconds() / 3600.0)


def trials_per_hour(campaign: Campaign) -> float | None:
    """N / (last record time - first submitted trial's record time), the baseline left out."""
    elapsed = hours(campaign)
    return campaign.trial_count / elapsed if elapsed else None


def parallel_efficiency(campaign: Campaign, counted: list[dict[str, Any]]) -> float | None:
    """eta = T(N) / (N * T(1)) with T(1) from the mean run + eval + log seconds of a trial that waits for nobody."""
    rate, trials = trials_per_hour(campaign), sum(cell["trials"] for cell in counted)
    alone = sum(cell[name] for cell in counted for name in SECONDS[1:])
    if rate is None or not trials or not alone:
        return None
    return float(rate * (alone / trials) / 3600.0 / campaign.slots)


def cross_role_keep_parents(campaign: Campaign) -> dict[str, int]:
    """Keeps whose parent is a trial of another role, of the keeps whose parent is a trial (not the start)."""
    pairs = (
        Trial.objects.of(campaign.pk).filter(label=Label.KEEP, parent__number__gt=0).values_list("role", "parent__role")
    )
    crossing = [role != parent_role for role, parent_role in pairs]
    return {"n": sum(crossing), "of": len(crossing)}


def sealed_scores(campaign: Campaign) -> dict[str, float | None]:
    """Scores on the sealed test split of ``start`` and ``best``, once they are measured."""
    found = dict(
        Measurement.objects.filter(campaign=campaign, purpose=Purpose.SEALED).values_list("trial__number", "score")
    )
    best = None if campaign.best_trial is None else campaign.best_trial.number
    return {"start": found.get(0), "best": None if best is None else found.get(best)}
