"""The figures of a study against plain Python over the same rows, and its tests against counting by hand."""

from __future__ import annotations

from itertools import combinations
from math import exp, log
from statistics import mean, median, quantiles
from typing import Any

import pytest
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer

from specialists.models import Study
from specialists.studies import reports, services
from specialists.studies.compare import comparisons, holm, p_value, superiority
from specialists.studies.curves import Curve, hour_band, hours_shown, trial_band
from tests.specialists.studies import launched, newest, search
from trials.models import Campaign, FrontierStep, Trial

LABELS_ONLY = ("crash", "size_blocked", "harness_abort")
#: Outcomes of start and trials, by place in the order of launch: swarm and random, repeat by repeat.
SEARCHES: list[list[float | str]] = [
    [2.0, 1.9, "crash", 1.8, 1.95],
    [2.0, "harness_abort", 2.1, 1.96, "size_blocked", 1.97],
    [4.0, 3.0, 3.5, "harness_abort", 2.9, 3.1],
    [4.0, 4.1, 3.9, "crash", 4.2],
]


@pytest.fixture
def study(db: None) -> Study:
    study = launched()
    for outcomes in SEARCHES:
        search(newest(study)[-1], outcomes)
        services.advance(study.pk)
    study.refresh_from_db()
    assert study.state == "finished"
    return study


def best_after(campaign: Campaign, number: int) -> float:
    """Best gain in percent within the first ``number`` counted trials, from the trials themselves."""
    rows = Trial.objects.filter(campaign=campaign, number__gt=0).exclude(label="harness_abort").order_by("number")
    start = Trial.objects.get(campaign=campaign, number=0).score
    assert start is not None
    scores = [score for score in list(rows.values_list("score", flat=True))[:number] if score is not None]
    return 100 * (start - min([start, *scores])) / start


def test_curves_bands_and_counts_are_those_of_the_rows(study: Study) -> None:
    report = reports.current_report(study)
    campaigns = newest(study)
    for at, name in enumerate(("swarm", "random")):
        own, arm = campaigns[at::2], report["arms"][name]
        assert arm["campaigns"] == [campaign.slug for campaign in own]
        for number, shown, low, high in zip(
            arm["by_trial"]["x"], arm["by_trial"]["median"], arm["by_trial"]["q1"], arm["by_trial"]["q3"], strict=True
        ):
            values = [best_after(campaign, number) for campaign in own]
            quarter, _, three_quarters = quantiles(values, n=4, method="inclusive")
            assert (shown, low, high) == pytest.approx((median(values), quarter, three_quarters))
        assert arm["by_trial"]["x"] == [0, 1, 2, 3, 4]
        finals = [best_after(campaign, 99) for campaign in own]
        assert arm["gain_pct"]["values"] == pytest.approx(finals)
        labels: dict[str, int] = {}
        for label in Trial.objects.filter(campaign__in=own, number__gt=0).values_list("label", flat=True):
            if label != "harness_abort":
                labels[label] = labels.get(label, 0) + 1
        assert arm["labels"] == labels
        assert arm["label_rates"] == pytest.approx({label: n / sum(labels.values()) for label, n in labels.items()})
        assert arm["keeps"]["values"] == [
            FrontierStep.objects.filter(campaign=one, number__gt=0).count() for one in own
        ]
        assert arm["trials"] == [4, 4]
        last = arm["by_hour"]["median"][-1]
        assert last == pytest.approx(median(finals))
    assert report["arms"]["random"]["infrastructure_failures"] == 1
    keeps = Trial.objects.filter(campaign__in=campaigns[0::2], label="keep", parent__number__gt=0).count()
    assert report["arms"]["swarm"]["cross_role_keep_parent"]["of"] == keeps


def test_diversity_uses_the_word_frequencies_of_all_campaigns_together(study: Study) -> None:
    groups = [
        list(
            Trial.objects.filter(campaign=one, number__gt=0)
            .exclude(label="harness_abort")
            .order_by("number")
            .values_list("hypothesis", flat=True)
        )
        for one in newest(study)
    ]
    settings: dict[str, Any] = {
        "stop_words": "english",
        "sublinear_tf": True,
        "token_pattern": r"[a-zA-Z][a-zA-Z0-9_+-]+",
    }
    together = TfidfVectorizer(**settings).fit([text for group in groups for text in group])
    clusters = []
    for group in groups:
        centres: list[list[Any]] = []
        for row in together.transform(group).toarray():
            near = [(float(row @ sum(c)) / (float(sum(c) @ sum(c)) ** 0.5 or 1.0), at) for at, c in enumerate(centres)]
            cosine, at = max(near, default=(0.0, -1))
            centres[at].append(row) if cosine >= 0.30 else centres.append([row])
        shares = [len(centre) / len(group) for centre in centres]
        clusters.append(exp(-sum(share * log(share) for share in shares)))
    report = reports.current_report(study)
    for at, name in enumerate(("swarm", "random")):
        assert report["arms"][name]["diversity"]["effective_clusters"]["values"] == pytest.approx(clusters[at::2])


def test_the_stored_report_stands_until_something_happens(study: Study) -> None:
    first = reports.current_report(study)
    assert reports.current_report(study) == first
    services.resume_study(study, actor="test")
    stored = reports.stored_report(study)
    assert stored is not None and stored.body["comparisons"] == first["comparisons"]


def by_hand(mine: list[float], other: list[float]) -> float:
    """Mann-Whitney's one-sided p: over every split, the share with as many wins as were seen."""
    pool, size = mine + other, len(mine)
    seen = superiority(mine, other)
    assert seen is not None
    at_least = []
    for chosen in combinations(range(len(pool)), size):
        first = [pool[at] for at in chosen]
        second = [pool[at] for at in range(len(pool)) if at not in chosen]
        wins = superiority(first, second)
        assert wins is not None
        at_least.append(wins >= seen - 1e-12)
    return sum(at_least) / len(at_least)


@pytest.mark.parametrize(
    "mine,other",
    [([5.0, 6.0, 7.0], [1.0, 2.0, 3.0]), ([1.0, 4.0, 2.0, 2.0], [2.0, 0.0, 3.0, 1.0]), ([1.0, 2.0], [3.0, 4.0])],
)
def test_p_is_exact_and_one_sided(mine: list[float], other: list[float]) -> None:
    assert p_value("mann-whitney", mine, other) == pytest.approx(by_hand(mine, other))
    pool, size, seen = mine + other, len(mine), mean(mine) - mean(other)
    means = [
        mean(pool[at] for at in chosen) - mean(pool[at] for at in range(len(pool)) if at not in chosen)
        for chosen in combinations(range(len(pool)), size)
    ]
    expected = sum(found >= seen - 1e-12 for found in means) / len(means)
    assert p_value("permutation", mine, other) == pytest.approx(expected)


def test_five_against_five_that_all_win_is_one_in_252() -> None:
    mine, other = [6.0, 7.0, 8.0, 9.0, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0]
    assert p_value("mann-whitney", mine, other) == pytest.approx(1 / 252)
    assert p_value("mann-whitney", mine, other) == pytest.approx(
        stats.mannwhitneyu(mine, other, alternative="greater", method="exact").pvalue
    )
    test = {"name": "mann-whitney", "arm": "a", "against": ["b", "c", "d"], "alpha": 0.05}
    found = comparisons(test, {"a": mine, "b": other, "c": [5.0, 6.0, 7.0, 8.0, 9.5], "d": [1.0]})
    assert [row["n"] for row in found] == [[5, 5], [5, 5], [5, 1]]
    assert (found[0]["effect"], found[0]["superiority"]) == (5.0, 1.0)
    assert found[0]["p_holm"] == pytest.approx(3 / 252) and found[0]["significant"] is True
    assert found[1]["p_holm"] == pytest.approx(2 * found[1]["p"]) and found[1]["significant"] is False
    assert (found[2]["p"], found[2]["p_holm"], found[2]["significant"]) == (None, None, None)


def test_holm_is_monotone_and_never_above_one() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_band_says_how_many_repeats_have_got_that_far_and_is_bounded() -> None:
    ended = Curve(trials=[2], hours=[0.5], gains=[1.0], done=3, lasted=1.0, over=True)
    going = Curve(trials=[1, 4], hours=[0.1, 0.9], gains=[3.0, 5.0], done=4, lasted=1.5, over=False)
    band = trial_band([ended, going], 6)
    assert band["n"] == [2, 2, 2, 2, 2, 1, 1]
    assert band["median"] == [0.0, 1.5, 2.0, 2.0, 3.0, 1.0, 1.0]
    assert trial_band([going], 6)["x"] == [0, 1, 2, 3, 4]
    assert trial_band([], 6)["x"] == []
    long = trial_band([Curve([5], [0.1], [1.0], 100_000, 9.0, True)], 100_000)
    assert len(long["x"]) <= 202 and long["x"][-1] == 100_000
    assert hour_band([ended, going], 1.5)["median"][-1] == 3.0
    interrupted = Curve(trials=[1], hours=[40.0], gains=[1.0], done=4, lasted=48.0, over=True)
    assert hours_shown([ended, going]) == 1.5
    assert hours_shown([ended, going, interrupted]) == 3.0
    assert hours_shown([]) == 0.0
