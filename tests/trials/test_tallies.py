"""Sums that are kept trial by trial against the same sums over all rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from tests.factories import CALIBRATION, calibrated, make_campaign, measure_repeats, run_trial
from tests.trials.explorer.conftest import made_up
from tests.trials.test_bulk import record_of
from trials import tallies
from trials.models import Campaign, Trial
from trials.services import tallies as keeping
from trials.services.upkeep import make_missing
from trials.tallies import Point
from trials.tally_models import (
    FrontPoint,
    Miss,
    MissTally,
    ParentTally,
    ReasonTally,
    ScoreColumn,
    Tally,
    TallyScale,
)
from trials.vocab import SCORED_LABELS, Direction, Label

pytestmark = pytest.mark.django_db


def finished(campaign: Campaign) -> list[Trial]:
    return list(Trial.objects.of(campaign.pk).finished().select_related("parent").order_by("number"))


def seconds_in(campaign: Campaign, trial: Trial) -> float:
    assert trial.finished_at is not None
    return (trial.finished_at - campaign.created_at).total_seconds()


def check(campaign: Campaign) -> None:
    """Every table of sums, from the rows alone and by other means than the code under test."""
    scale, trials = TallyScale.objects.get(campaign=campaign), finished(campaign)
    width = 56.25 * 2**scale.time_power
    assert max(seconds_in(campaign, trial) for trial in trials) / width < 128
    assert max(trial.number for trial in trials) / 2**scale.trial_power < 128

    cells: dict[tuple[str, int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for trial in trials:
        at = int(seconds_in(campaign, trial) / width)
        for key in (("", at), (trial.role, at), (trial.role, -1)):
            cell = cells[(*key, trial.standing)]
            cell[0] += 1
            cell[1] += round(1000 * (trial.run_seconds or 0))
            cell[2] += round(1000 * (trial.queue_seconds or 0))
    rows = Tally.objects.filter(campaign=campaign)
    assert {(r.role, r.bin, r.label): [r.trials, r.run_ms, r.queue_ms] for r in rows} == cells

    ranked = [trial for trial in trials if trial.score is not None and trial.label in SCORED_LABELS]
    first = ranked[0].score
    assert first is not None and (scale.origin, scale.unit) == (first, abs(first) / 2000)
    columns: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for trial in ranked:
        level = math.floor(((trial.score or 0.0) - first) / (abs(first) / 2000))
        level = min(4000, max(-4000, level))
        columns["trial", trial.number // 2**scale.trial_power][str(level)] += 1
        columns["time", int(seconds_in(campaign, trial) / width)][str(level)] += 1
    found = ScoreColumn.objects.filter(campaign=campaign)
    assert {(c.axis, c.bin): c.counts for c in found} == {key: dict(counts) for key, counts in columns.items()}

    failures = [trial for trial in trials if trial.failure]
    reasons = {row.failure: (row.trials, row.newest) for row in ReasonTally.objects.filter(campaign=campaign)}
    assert reasons == {
        key: (count, max(trial.number for trial in failures if trial.failure == key))
        for key, count in Counter(trial.failure for trial in failures).items()
    }
    misses = Miss.objects.filter(campaign=campaign)
    told = {trial.number for trial in failures if any("over" in name or name == "deficit" for name in trial.numbers)}
    assert {miss.number for miss in misses} == told
    levels = Counter((m.label, max(-12, min(6, math.floor(2 * math.log10(m.share))))) for m in misses if m.share > 0)
    levels += Counter((m.label, -12) for m in misses if m.share <= 0)
    assert {(r.label, r.level): r.trials for r in MissTally.objects.filter(campaign=campaign)} == levels

    pairs = Counter((t.role, t.parent.role if t.parent else "") for t in trials
                    if t.label not in (Label.BASELINE, Label.HARNESS_ABORT))  # fmt: skip
    keeps = Counter((t.role, t.parent.role if t.parent else "") for t in trials if t.standing == Label.KEEP)
    kept = {(r.role, r.parent_role): (r.trials, r.keeps) for r in ParentTally.objects.filter(campaign=campaign)}
    assert kept == {pair: (count, keeps[pair]) for pair, count in pairs.items()}
    check_fronts(campaign, ranked)


def check_fronts(campaign: Campaign, ranked: list[Trial]) -> None:
    """Every pair of trials is compared."""
    sign = 1 if campaign.direction == Direction.LOWER else -1
    places = {
        "bytes": {t.number: t.artifact_bytes for t in ranked},
        "seconds": {t.number: (t.run_seconds or 0) + (t.eval_seconds or 0) for t in ranked},
        "usd": {t.number: t.proposal.get("usd") for t in ranked},
    }
    for axis, where in places.items():
        planes = [(round(x, 3), sign * (t.score or 0.0), t.number) for t in ranked if (x := where[t.number])]
        best = {
            number for x, score, number in planes
            if not any(o[0] <= x and o[1] <= score and (o[:2] != (x, score) or o[2] < number) for o in planes)
        }  # fmt: skip
        rows = FrontPoint.objects.filter(campaign=campaign, axis=axis)
        assert {row.number for row in rows} == best, axis


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that end in odd places."""
    monkeypatch.setattr(keeping, "BATCH", 37)


def test_sums_of_a_long_search_equal_those_over_its_rows(narrow: None) -> None:
    campaign = made_up(560)
    check(campaign)
    scale = TallyScale.objects.get(campaign=campaign)
    assert scale.time_power >= 1 and scale.trial_power >= 2
    assert Tally.objects.filter(campaign=campaign, role="").values("bin").distinct().count() <= 128


def test_sums_made_anew_are_the_same(narrow: None) -> None:
    campaign = made_up(200)
    before = record_of(campaign)
    keeping.rebuild(campaign.pk)
    assert record_of(campaign) == before


def test_a_campaign_without_sums_gets_them_after_a_migration(capsys: pytest.CaptureFixture[str]) -> None:
    campaign = made_up(30)
    before = record_of(campaign)
    for model in keeping.MADE:
        model._default_manager.filter(campaign=campaign).delete()
    assert keeping.missing() == [campaign]
    call_command("migrate", verbosity=0)
    assert record_of(campaign) == before
    assert f"sums of {campaign.slug}: 31 trials" in capsys.readouterr().err or keeping.missing() == []
    assert make_missing is not None


def test_a_confirmation_moves_a_trial_from_one_sum_to_the_other() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    run_trial(campaign, 1.97)
    assert Tally.objects.filter(campaign=campaign, label="provisional", bin=-1).count() == 1
    check(campaign)
    for _ in range(12):
        measure_repeats(campaign, lambda order: 1.9 if order.trial.number == 1 else CALIBRATION[0] + 0.001)
    standings = set(Trial.objects.of(campaign.pk).values_list("standing", flat=True))
    assert "keep" in standings and "provisional" not in standings
    check(campaign)


def test_failures_have_margins_as_their_numbers_tell() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, None, "size_blocked", reason="2,056 bytes over", numbers={"bytes_over": 2056})
    run_trial(campaign, None, "train_budget_overrun", reason="x", numbers={"units": 660, "units_over": 60})
    run_trial(campaign, None, "disqualified", reason="y", numbers={"deficit": 0.00044, "gate": 0.96})
    run_trial(campaign, None, "crash", reason="ValueError: no")
    rows = Miss.objects.filter(campaign=campaign).order_by("number")
    assert [(m.number, m.unit, m.over) for m in rows] == [
        (1, "bytes", 2056.0), (2, "units", 60.0), (3, "accuracy", 0.00044),
    ]  # fmt: skip
    assert [m.share for m in rows] == pytest.approx([2056 / 254_444, 0.1, 0.00044 / 0.96])
    assert Miss.objects.filter(campaign=campaign).order_by("share")[0].number == 3
    check(campaign)


@pytest.mark.parametrize(
    ("label", "numbers", "size", "expected"),
    [
        ("size_blocked", {}, 280_000, ("bytes", 8_000, 8_000 / 272_000)),
        ("size_blocked", {"bytes_over": 10, "projected_bytes": 110}, None, ("bytes", 10, 0.1)),
        ("eval_budget_overrun", {"cpu_seconds": 3.0, "cpu_seconds_over": 1.0}, None, ("seconds", 1.0, 0.5)),
        ("eval_budget_overrun", {"seconds_over": 2.0}, None, ("seconds", 2.0, 0.0)),
        ("crash", {"units_over": True}, None, None),
        ("crash", {"units_over": "many"}, None, None),
        ("crash", {"units_over": math.inf}, None, None),
        ("discard", {"bytes_over": 5}, 5, None),
        ("harness_abort", {"seconds_over": 5.0}, None, None),
        ("size_blocked", {"bytes_over": -1}, 5, None),
    ],
)
def test_margins(
    label: str, numbers: dict[str, Any], size: int | None, expected: tuple[str, float, float] | None
) -> None:
    found = tallies.margin_of(label, numbers, size, {"artifact_bytes": 272_000})
    assert (None if found is None else (found.unit, found.over, pytest.approx(found.share))) == expected


def planes() -> Iterator[list[Point]]:
    yield []
    yield [Point(1, 1, 0, 0), Point(1, 1, 1, 1)]
    yield [Point(x, y, at, at) for at, (x, y) in enumerate([(3, 1), (1, 3), (2, 2), (2, 3), (1, 4), (3, 1)])]


def test_a_front_is_what_nothing_beats() -> None:
    fronts = [[point.number for point in tallies.front(plane, Direction.LOWER)] for plane in planes()]
    assert fronts == [[], [0], [1, 2, 0]]
    higher = tallies.front([Point(1, 1, 0, 0), Point(2, 3, 1, 1), Point(3, 2, 2, 2)], Direction.HIGHER)
    assert [point.number for point in higher] == [0, 1]


@pytest.mark.parametrize(("last", "power"), [(0, 0), (127, 0), (128, 1), (255, 1), (256, 2), (1_000_000, 13)])
def test_stretches_double_when_they_are_too_many(last: int, power: int) -> None:
    assert tallies.power_for(last) == power
