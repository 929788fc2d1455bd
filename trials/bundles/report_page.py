"""``report.html``: the campaign as one static page that opens without a server. Bounded, escaped, no script."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from django.template.loader import render_to_string

from trials.bundles.container import ZipWriter
from trials.bundles.redaction import Redaction
from trials.checkpoints import asked_where
from trials.models import Approval, Campaign, FrontierStep, Rollup, Trial
from trials.vocab import Direction, Label

NEWEST, STEPS, POINTS = 300, 100, 600
WIDTH, HEIGHT = 720.0, 220.0


def write(campaign: Campaign, writer: ZipWriter, redaction: Redaction, row: dict[str, Any]) -> None:
    """Add the page. It depends on the record alone: no time of day, no address of this site."""

    def told(text: str) -> str:
        return "" if redaction.finds(text) else text[:300]

    shown = Trial.objects.of(campaign.pk).for_rows().newest(NEWEST)
    context = {
        "campaign": campaign,
        "row": row,
        "licences": campaign.spec.get("licences", {}),
        "labels": _labels(campaign),
        "roles": _roles(campaign),
        "steps": FrontierStep.objects.filter(campaign=campaign).select_related("trial").order_by("-pk")[:STEPS],
        "line": _line(campaign),
        "trials": [(trial, told(trial.hypothesis), told(trial.reason)) for trial in shown],
        "newest": NEWEST,
        "asked": asked_where(campaign.checkpoints),
        "answers": _answers(campaign),
        "redacted": redaction.profiles,
        "width": WIDTH,
        "height": HEIGHT,
    }
    writer.add("report.html", render_to_string("trials/bundle_report.html", context).encode())


def _labels(campaign: Campaign) -> list[tuple[str, int]]:
    return [(cell["label"], cell["trials"]) for cell in Rollup.objects.counts(campaign.pk, "label")]


def _answers(campaign: Campaign) -> list[tuple[str, int]]:
    """How often a person's answer was which; empty for questions that wait."""
    return sorted(Counter(Approval.objects.filter(campaign=campaign).values_list("answer", flat=True)).items())


def _roles(campaign: Campaign) -> list[tuple[str, int, int]]:
    """Role, its trials, its keeps."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for cell in Rollup.objects.counts(campaign.pk, "role", "label"):
        if cell["label"] != Label.BASELINE:
            found[cell["role"]][0] += cell["trials"]
            found[cell["role"]][1] += cell["trials"] if cell["label"] == Label.KEEP else 0
    return [(role, trials, keeps) for role, (trials, keeps) in sorted(found.items())]


def _line(campaign: Campaign) -> str:
    """Points of an SVG polyline: the best score by trial; better is higher on the page."""
    steps = list(FrontierStep.objects.filter(campaign=campaign).order_by("pk").values_list("number", "score"))
    if len(steps) < 2:
        return ""
    kept = steps[:: -(-len(steps) // POINTS)]
    scores = [score for _, score in steps]
    best, worst = min(scores), max(scores)
    if campaign.direction == Direction.HIGHER:
        best, worst = worst, best
    span, last = (best - worst) or 1.0, max(campaign.last_number, 1)
    drawn, before = list[str](), kept[0][1]
    for number, score in [*kept, (campaign.last_number, kept[-1][1])]:
        x = WIDTH * number / last
        drawn += [f"{x:.1f},{HEIGHT * (1 - (value - worst) / span):.1f}" for value in (before, score)]
        before = score
    return " ".join(drawn)
