"""What the page of a study shows: how it stands now from counters, and the figures of its stored report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Sum

from specialists.models import Study
from specialists.studies import reports, tables
from specialists.studies.curves import Curve, read_curves, spread
from specialists.studies.plan import describe_test
from specialists.studies.standing import Place, by_arm, places, seq_of
from trials.models import Campaign, Rollup
from trials.vocab import UNCOUNTED_LABELS


def context(study: Study) -> dict[str, Any]:
    """Values of ``specialists/study.html``."""
    found = places(study)
    curves = read_curves([place.campaign for place in found if place.campaign is not None])
    labels = _labels(found)
    stored = reports.stored_report(study)
    rows = [_row(study, name, own, curves, labels) for name, own in by_arm(study, found).items()]
    return {
        "study": study,
        "plan": study.plan,
        "seq": seq_of(study),
        "rows": rows,
        "done": sum(place.complete for place in found),
        "running": sum(place.live for place in found),
        "test_words": describe_test(study.plan["test"], study.plan["trials"]),
        "stored": stored,
        "current": stored is not None and stored.seq == seq_of(study),
        "pending": reports.is_pending(study),
        **({} if stored is None else _figures(stored.body)),
    }


def _labels(found: Sequence[Place]) -> Mapping[int, Counter[str]]:
    """Counted trials by campaign and label, in one query over rollups."""
    campaigns = [place.campaign for place in found if place.campaign is not None]
    rows = Rollup.objects.filter(campaign__in=campaigns).exclude(label__in=UNCOUNTED_LABELS)
    counts: dict[int, Counter[str]] = {campaign.pk: Counter() for campaign in campaigns}
    for pk, label, trials in rows.values_list("campaign_id", "label").annotate(sum=Sum("trials")):
        counts[pk][label] = trials
    return counts


def _row(
    study: Study, name: str, own: Sequence[Place], curves: Mapping[int, Curve], labels: Mapping[int, Counter[str]]
) -> dict[str, Any]:
    """One arm as it stands now, campaigns under way included."""
    begun = [place.campaign for place in own if place.campaign is not None]
    gains = [curves[campaign.pk].final for campaign in begun if campaign.pk in curves]
    total = sum((labels[campaign.pk] for campaign in begun), Counter[str]())
    count = sum(total.values())
    return {
        "arm": next(arm for arm in study.arms if arm["name"] == name),
        "campaigns": [(place.repeat + 1, place.campaign, _change(place.campaign)) for place in own],
        "done": sum(place.complete for place in own),
        "gain": tables.band(spread(gains)),
        "trials": count,
        "keeps": sum(campaign.keep_count for campaign in begun),
        "labels": [(label, found, 100 * found / count) for label, found in total.most_common()],
    }


def _change(campaign: Campaign | None) -> float | None:
    return None if campaign is None else campaign.improvement


def _figures(report: Mapping[str, Any]) -> dict[str, Any]:
    columns = tables.label_columns(report)
    return {
        "report": report,
        "arms": [(name, report["arms"][name]) for name in tables.arm_order(report)],
        "label_columns": columns,
        "label_rows": tables.label_rows(report, columns),
    }
