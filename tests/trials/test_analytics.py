"""Numbers behind the pages, each against a count of its own over the trials."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import make_campaign, run_trial, start, submit
from trials import analytics, report
from trials.models import Campaign, Trial
from trials.services import leases
from trials.tally_models import Tally, TallyScale

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign() -> Campaign:
    """A baseline, three keeps, two discards, two crashes, one infrastructure failure."""
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    for score, role in ((2.3, "architecture"), (2.35, "optimization"), (2.2, "optimization"), (2.1, "architecture")):
        run_trial(campaign, score, role=role)
    run_trial(campaign, 2.5, role="architecture")
    for role in ("architecture", "optimization"):
        run_trial(campaign, None, "crash", role=role)
    run_trial(campaign, None, "harness_abort", role="optimization")
    campaign.refresh_from_db()
    return campaign


def finished(campaign: Campaign) -> list[Trial]:
    return list(Trial.objects.of(campaign.pk).finished().filter(number__gt=0))


def test_labels_equal_a_count_over_the_trials(campaign: Campaign) -> None:
    expected = Counter(trial.label for trial in finished(campaign))
    found = analytics.labels(campaign)
    assert {row.label: row.trials for row in found} == dict(expected)
    assert [row.trials for row in found] == sorted(expected.values(), reverse=True)
    assert sum(row.share for row in found) == pytest.approx(1.0)
    assert {row.label: row.trials for row in found} == report.build_report(campaign).body["labels"]


def test_roles_equal_a_count_over_the_trials(campaign: Campaign) -> None:
    profiles = {profile.role: profile for profile in analytics.roles(campaign)}
    assert list(profiles) == ["architecture", "optimization"]
    for role, profile in profiles.items():
        mine = [trial for trial in finished(campaign) if trial.role == role]
        assert profile.labels == Counter(trial.label for trial in mine)
        assert profile.trials == sum(trial.label != "harness_abort" for trial in mine)
        assert profile.keeps == sum(trial.label == "keep" for trial in mine)
        machine = sum((trial.run_seconds or 0) + (trial.eval_seconds or 0) for trial in mine)
        assert profile.machine_seconds == pytest.approx(machine, abs=0.01)
    assert profiles["architecture"].keep_rate == pytest.approx(2 / 4)


def test_a_role_without_trials_has_no_keep_rate() -> None:
    assert [profile.keep_rate for profile in analytics.roles(make_campaign())] == [None, None]


def test_the_frontier_is_the_running_best(campaign: Campaign) -> None:
    found = analytics.frontier(campaign)
    assert [(step.number, step.score) for step in found] == [(0, 2.4), (1, 2.3), (3, 2.2), (4, 2.1)]
    assert [step.role for step in found] == ["baseline", "architecture", "optimization", "architecture"]
    assert all(0 <= step.hours < 1 for step in found)


def test_throughput_counts_every_finished_trial_and_fills_quiet_stretches(campaign: Campaign) -> None:
    Tally.objects.filter(campaign=campaign, label="crash", bin=0).update(bin=3)
    bins = analytics.throughput(campaign)
    assert [row.hour for row in bins] == [0, 1 / 64, 2 / 64, 3 / 64]
    assert [row.trials for row in bins] == [7, 0, 0, 2]
    trials = [*finished(campaign), Trial.objects.get(campaign=campaign, number=0)]
    assert sum(row.seconds["run"] for row in bins) == pytest.approx(sum(t.run_seconds or 0 for t in trials), abs=0.01)
    assert bins[1].mean_seconds("run") == 0.0


def test_throughput_of_one_role_is_its_own(campaign: Campaign) -> None:
    mine = [trial for trial in finished(campaign) if trial.role == "architecture"]
    assert [row.trials for row in analytics.throughput(campaign, "architecture")] == [len(mine)]


def test_long_campaigns_have_wider_bins(campaign: Campaign) -> None:
    TallyScale.objects.filter(campaign=campaign).update(time_power=8)
    assert [(row.hour, row.width, row.trials) for row in analytics.throughput(campaign)] == [(0, 4, 9)]
    assert analytics.throughput(make_campaign(name="Empty")) == []


def test_points_hold_every_scored_trial_of_a_short_campaign(campaign: Campaign) -> None:
    points = analytics.points(campaign)
    assert points.every == 1
    assert [row.number for row in points.rows] == [0, 1, 2, 3, 4, 5]
    assert points.rows[1].hypothesis == "Idea 1 should help."


def test_points_of_a_long_campaign_are_a_sample_of_fixed_size(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analytics, "MAX_POINTS", 5)
    monkeypatch.setattr(analytics, "NEWEST_POINTS", 1)
    monkeypatch.setattr(analytics, "NEIGHBOURS", 2)
    points = analytics.points(campaign)
    assert points.every == 4  # of 9 trials 0 and 1, and the newest, 8, which has no score
    assert [row.number for row in points.rows] == [0, 1]


def test_an_outline_has_the_newest_steps_and_some_of_the_older_ones(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = analytics.frontier(campaign)
    assert analytics.outline(campaign) == every and len(every) == 4
    monkeypatch.setattr(analytics, "NEWEST_STEPS", 1)
    monkeypatch.setattr(analytics, "OLDER_STEPS", 2)
    first, _, third, newest = every
    assert analytics.outline(campaign) == [replace(first, role=""), replace(third, role=""), newest]
    assert analytics.outline(make_campaign(name="Empty")) == []


def test_sparks_of_many_campaigns_take_one_query(
    campaign: Campaign, django_assert_num_queries: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_campaign(name="Other")
    run_trial(other, 5.0, parent=None)
    with django_assert_num_queries(1):  # type: ignore[operator]
        sparks = analytics.sparks([campaign, other])
    assert [step.score for step in sparks[campaign.pk]] == [2.4, 2.3, 2.2, 2.1]
    assert [step.score for step in sparks[other.pk]] == [5.0]
    monkeypatch.setattr(analytics, "SPARK_STEPS", 2)
    assert [step.score for step in analytics.sparks([campaign])[campaign.pk]] == [2.2, 2.1]


def test_phases_name_what_runs_now(campaign: Campaign) -> None:
    evaluation = start(submit(campaign))
    leases.heartbeat(evaluation.pk, evaluation.attempt, phase="train", progress=0.5)
    assert analytics.phases(campaign, [9]) == {9: ("train", 0.5)}
    assert analytics.phases(campaign, [1]) == {}


def test_hours_count_from_the_launch(campaign: Campaign) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(created_at=timezone.now() - timedelta(hours=2))
    campaign.refresh_from_db()
    assert all(1.9 < step.hours < 2.1 for step in analytics.frontier(campaign))
