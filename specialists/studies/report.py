"""The report of a study: every figure of ``manage.py study``, from the record alone (definitions: docs/studies.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from specialists.models import Study
from specialists.studies import compare
from specialists.studies.curves import Curve, gain_pct, hour_band, hours_shown, read_curves, spread, trial_band
from specialists.studies.plan import describe_test
from specialists.studies.standing import Place, by_arm, places, seq_of
from trials import counting, diversity
from trials.models import Campaign, Trial
from trials.services.reports import current_report
from trials.vocab import Label

BANDS = "median and quartiles over repeats"
SCAN = 2_000


def build_report(study: Study) -> dict[str, Any]:
    """All figures. Only campaigns that came to their end are compared; the others are counted."""
    seq = seq_of(study)
    found = places(study)
    complete = [place.campaign for place in found if place.campaign is not None and place.complete]
    reports = {campaign.pk: current_report(campaign) for campaign in complete}
    curves = read_curves(complete)
    ideas = dict(zip(reports, diversity.compare([_hypotheses(campaign) for campaign in complete]), strict=True))
    arms = {
        name: _arm(study, name, places_of, reports, curves, ideas, hours_shown(list(curves.values())))
        for name, places_of in by_arm(study, found).items()
    }
    test = study.plan["test"]
    gains = {name: arm["gain_pct"]["values"] for name, arm in arms.items()}
    return {
        **_head(study, complete),
        "at_event": seq,
        "campaigns": {
            "wanted": study.campaigns_wanted,
            "finished": len(complete),
            "running": sum(place.live for place in found),
            "broken": sum(place.broken for place in found),
        },
        "arms": arms,
        "bands": BANDS,
        "test": {**test, "words": describe_test(test, study.plan["trials"])},
        "comparisons": compare.comparisons(test, gains),
    }


def _head(study: Study, complete: Sequence[Campaign]) -> dict[str, Any]:
    plan = study.plan
    first = complete[0] if complete else None
    return {
        "study": study.slug,
        "name": study.name,
        "state": study.state,
        "state_reason": study.state_reason,
        "plan_sha256": study.plan_sha256,
        **{name: plan[name] for name in ("environment", "profile", "keep_rule", "trials", "repeats", "seeds")},
        "score_name": None if first is None else first.score_name,
        "direction": None if first is None else first.direction,
    }


def _hypotheses(campaign: Campaign) -> list[str]:
    """Of finished trials in their order, failures of the infrastructure left out."""
    rows = Trial.objects.of(campaign.pk).finished().exclude(label__in=[Label.BASELINE, Label.HARNESS_ABORT])
    return list(rows.order_by("number").values_list("hypothesis", flat=True).iterator(SCAN))


def _arm(
    study: Study,
    name: str,
    found: Sequence[Place],
    reports: Mapping[int, Mapping[str, Any]],
    curves: Mapping[int, Curve],
    ideas: Mapping[int, diversity.Diversity],
    hours: float,
) -> dict[str, Any]:
    done = [place.campaign for place in found if place.campaign is not None and place.campaign.pk in reports]
    own = [reports[campaign.pk] for campaign in done]
    drawn = [curves[campaign.pk] for campaign in done if campaign.pk in curves]
    labels: Counter[str] = Counter()
    for report in own:
        labels.update({label: count for label, count in report["labels"].items() if label != Label.HARNESS_ABORT})
    settings = next(dict(arm) for arm in study.arms if arm["name"] == name)
    return {
        "settings": settings,
        "campaigns": [campaign.slug for campaign in done],
        "n": len(done),
        "best": _over([report["best"] for report in own]),
        "gain_pct": _over([curve.final for curve in drawn]),
        "sealed_gain_pct": _over([_sealed_gain(*pair) for pair in zip(done, own, strict=True)]),
        "trials": [report["trials"] for report in own],
        "keeps": _over([report["keeps"] for report in own]),
        "hours": _over([report["hours"] for report in own]),
        "trials_per_hour": _over([report["trials_per_hour"] for report in own]),
        "parallel_efficiency": _over([report["parallel_efficiency"] for report in own]),
        "labels": dict(labels),
        "label_rates": counting.shares(labels),
        "infrastructure_failures": sum(report["infrastructure_failures"] for report in own),
        "cross_role_keep_parent": {
            key: sum(report["cross_role_keep_parent"][key] for report in own) for key in ("n", "of")
        },
        "diversity": {
            key: _over([getattr(ideas[campaign.pk], key) for campaign in done])
            for key in ("effective_clusters", "largest_share", "near_duplicate_rate")
        },
        "by_trial": trial_band(drawn, study.plan["trials"]),
        "by_hour": hour_band(drawn, hours),
    }


def _over(values: Sequence[float | None]) -> dict[str, Any]:
    """Values of the repeats that have one, by repeat, with their median and quartiles."""
    known = [value for value in values if value is not None]
    return {"values": known, **spread(known)}


def _sealed_gain(campaign: Campaign, report: Mapping[str, Any]) -> float | None:
    """Improvement on the sealed split in percent of the start's score there; 0 where the start is still the best."""
    sealed = report["sealed"]
    if campaign.best_trial is not None and campaign.best_trial.number == 0:
        return 0.0
    if not sealed["start"] or sealed["best"] is None:
        return None
    return gain_pct(Campaign(start_score=sealed["start"], direction=campaign.direction), sealed["best"])
