"""All that the report page shows, from the stored report alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trials import charts
from trials.analytics import Step
from trials.models import Campaign
from trials.services import reports

CHAINS = 40
STEPS = 200
ROLES = 60
FILES = 300
CURVE = (720.0, 150.0)
PARTS = ("improves", "valid", "not_compliant", "infrastructure")


def context(campaign: Campaign) -> dict[str, Any]:
    """Values for ``trials/report.html``; ``report`` is None before one was computed."""
    stored = reports.stored_report(campaign)
    files = sorted(campaign.spec.get("trace", {}).get("files", {}).items())
    shown: dict[str, Any] = {
        "campaign": campaign,
        "stored": stored,
        "current": reports.is_current(stored, campaign),
        "pending": reports.is_pending(campaign),
        "files": files[:FILES],
        "hidden_files": max(0, len(files) - FILES),
        "report": None,
    }
    return shown if stored is None else shown | _figures(campaign, stored.report)


def _figures(campaign: Campaign, report: Mapping[str, Any]) -> dict[str, Any]:
    steps = _steps(report)
    return {
        "report": report,
        "labels": _labels(report),
        "roles": _roles(campaign, report["roles"]),
        "steps": steps[::-1][:STEPS],
        "hidden_steps": max(0, len(steps) - STEPS),
        "curve": _curve(campaign, report),
        "curve_size": CURVE,
        "ideas": report["infrastructure"]["without"],
        "everything": report["infrastructure"]["with"],
        "chains": report["repairs"]["chains"][::-1][:CHAINS],
        "gate_or_cap": _boundaries(report),
        "questions": report["approvals"][::-1][:STEPS],
        "hidden_questions": max(0, len(report["approvals"]) - STEPS),
    }


def _labels(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Labels, most frequent first, with and without failures of the infrastructure."""
    counts: Mapping[str, int] = report["labels"]
    total = sum(counts.values())
    ideas = report["infrastructure"]["without"]
    return [
        {
            "label": label,
            "trials": count,
            "share": count / total,
            "ideas": ideas["labels"].get(label, 0),
            "ideas_share": ideas["label_rates"].get(label),
            "hours": report["machine_hours_by_label"].get(label, 0.0),
        }
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _roles(campaign: Campaign, roles: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Roles in the order of the roster, then others; JSON in the database keeps no order."""
    order = dict.fromkeys([*(str(role["name"]) for role in campaign.roles), *sorted(roles)])
    return [
        {"name": name, **roles[name], "parts": [(part, 100 * share) for part, share in _parts(roles[name]) if share]}
        for name in [name for name in order if name in roles][:ROLES]
    ]


def _parts(role: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(part, role[part] / role["trials"]) for part in PARTS]


def _steps(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Frontier steps with the gain of each over the one before."""
    before, steps = report["start"], []
    for step in report["frontier"]:
        steps.append({**step, "gain": None if before is None else step["score"] - before})
        before = step["score"]
    return steps


def _curve(campaign: Campaign, report: Mapping[str, Any]) -> str:
    start: Sequence[Step] = [] if report["start"] is None else [Step(0, report["start"], "", 0.0)]
    steps = [*start, *(Step(step["trial"], step["score"], step["role"], 0.0) for step in report["frontier"])]
    return charts.sparkline(steps, campaign.last_number, *CURVE)


def _boundaries(report: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Share of the trials of each boundary failure, those that came up."""
    names = ("size_blocked", "train_budget_overrun", "eval_budget_overrun", "disqualified")
    return [(name, report["label_rates"][name]) for name in names if name in report["label_rates"]]
