"""The keep rule ``verified`` on the record: calibration, provisional trials, decisions, and that everything counts by
standing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from evaluators.services import judge_measured
from tests.factories import calibrated, make_campaign, measure_repeats, record, run_trial, start, submit
from tests.trials.test_services import chain_is_whole
from trials import analytics, confirm
from trials.confirm import Noise, Pair
from trials.lineage import build_slice
from trials.models import Campaign, Confirmation, Evaluation, Event, FrontierStep, Measurement, Rollup, Trial
from trials.report import build_report
from trials.services import campaigns, leases, repeats, submissions
from trials.services.verdicts import Verdict
from trials.vocab import CampaignState, Direction, EventKind, Label, Purpose, Ruling

pytestmark = pytest.mark.django_db
Scores = Callable[[Evaluation], Any]


def by_trial(**scores: Any) -> Scores:
    """``t1=1.9``: what trial 1 measures as; the start is at 2.0."""
    return lambda order: scores.get(f"t{order.trial.number}", 2.0)


def decided(campaign: Campaign, scores: Scores, most: int = 30) -> Campaign:
    """Measure until nothing is wanted."""
    for _ in range(most):
        if not measure_repeats(campaign, scores):
            break
    campaign.refresh_from_db()
    return campaign


def report_of(campaign: Campaign) -> dict[str, Any]:
    """The report as it is now."""
    return build_report(Campaign.objects.get(pk=campaign.pk)).body


def books_are_right(campaign: Campaign) -> bool:
    """Standings, rollups, counters and frontier equal a recomputation from trials, confirmations and measurements."""
    campaign.refresh_from_db()
    trials = list(Trial.objects.of(campaign.pk).finished().order_by("number"))
    rulings = {Ruling.CONFIRMED: Label.KEEP, Ruling.REFUTED: Label.DISCARD}
    for trial in trials:
        last = trial.confirmations.order_by("-round").first()
        expected = trial.label if last is None else rulings.get(last.ruling, Label.PROVISIONAL)
        assert trial.standing == expected, trial
        assert (trial.label == Label.PROVISIONAL) == (last is not None)
    cells = Counter((trial.role, trial.standing) for trial in trials)
    rolled = Counter({(cell.role, cell.label): cell.trials for cell in Rollup.objects.filter(campaign=campaign)})
    assert rolled == cells
    run = sum(trial.run_seconds for trial in trials)
    assert sum(cell.run_seconds for cell in Rollup.objects.filter(campaign=campaign)) == pytest.approx(run)
    keeps = sum(trial.standing == Label.KEEP for trial in trials)
    assert campaign.keep_count == keeps
    confirmed = campaign.confirmations.filter(ruling=Ruling.CONFIRMED).order_by("closed_at", "pk")
    means = [(found.trial_id, sum(pair[1] for pair in found.numbers["pairs"]) / found.pairs) for found in confirmed]
    steps = list(FrontierStep.objects.filter(campaign=campaign).order_by("pk").values_list("trial_id", "score"))
    assert steps[1:] == [(trial, pytest.approx(mean)) for trial, mean in means]
    assert (campaign.best_trial_id, campaign.best_score) == steps[-1]
    repeated = Measurement.objects.filter(campaign=campaign).exclude(purpose=Purpose.TRIAL)
    assert campaign.repeat_count == repeated.filter(evaluation__state="judged").count()
    assert sum(report_of(campaign)["labels"].values()) == len(trials) - 1
    return chain_is_whole(campaign)


def test_the_start_is_measured_on_six_seeds_and_the_noise_is_on_record() -> None:
    campaign = calibrated()
    assert campaign.noise_sd == pytest.approx(0.01) and campaign.noise_df == 5
    assert campaign.start_score == campaign.best_score == pytest.approx(2.0)
    event = Event.objects.get(kind=EventKind.CAMPAIGN_CALIBRATED)
    assert event.payload["noise_sd"] == campaign.noise_sd and len(event.payload["scores"]) == 6
    assert len(set(event.payload["seeds"])) == len(set(event.payload["measurements"])) == 6
    assert report_of(campaign)["noise_sd"] == campaign.noise_sd
    assert not repeats.wanted(campaign) and books_are_right(campaign)


def test_calibrations_are_ordered_slot_by_slot_and_a_seed_lost_to_us_is_replaced() -> None:
    campaign = make_campaign(keep_rule="verified")
    run_trial(campaign, 2.0, parent=None)
    assert len(measure_repeats(campaign, lambda order: 2.1, most=2)) == 2
    assert repeats.wanted(campaign) == 3
    measure_repeats(campaign, lambda order: Label.HARNESS_ABORT, most=1)
    assert repeats.wanted(campaign) == 3
    measure_repeats(campaign, lambda order: 2.0)
    campaign.refresh_from_db()
    assert campaign.noise_sd is not None and campaign.aborts_in_a_row == 0


def test_a_start_that_fails_on_another_seed_ends_the_campaign_with_the_seed() -> None:
    campaign = make_campaign(keep_rule="verified")
    run_trial(campaign, 2.0, parent=None)
    [order, *_] = measure_repeats(campaign, lambda order: Label.CRASH, most=1)
    campaign.refresh_from_db()
    assert campaign.state == CampaignState.FAILED
    assert campaign.state_reason == f"the starting recipe is crash with seed {order.seed}: crash it is"


def test_a_lead_within_the_noise_is_a_discard_that_says_so() -> None:
    campaign = calibrated()
    inside = run_trial(campaign, 2.0 - 0.012)
    assert (inside.label, inside.standing) == (Label.DISCARD, Label.DISCARD)
    assert inside.reason == "0.012000 better than the best, within the noise: 0.012500 are needed"
    assert run_trial(campaign, 2.0 - 0.013).label == Label.PROVISIONAL


def test_a_provisional_trial_is_never_the_best_and_may_be_built_on() -> None:
    campaign = calibrated()
    first = run_trial(campaign, 1.9)
    campaign.refresh_from_db()
    assert (first.label, campaign.keep_count, campaign.best_trial.number) == (Label.PROVISIONAL, 0, 0)
    assert FrontierStep.objects.count() == 1
    view = build_slice(campaign, "architecture")
    assert view.best is not None and view.best.number == 0
    assert [entry.label for entry in view.leaderboard] == ["provisional", "baseline"]
    assert "looks better, is being measured again" in view.text()
    assert submit(campaign, parent=1).depth == 2
    assert report_of(campaign)["labels"] == {"provisional": 1}
    assert books_are_right(campaign)


def test_a_real_gain_is_confirmed_and_stands_as_a_keep_while_the_outcome_stays() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.6)
    decided(campaign, by_trial(t1=1.61))
    trial = Trial.objects.get(number=1)
    assert (trial.label, trial.standing, trial.score) == ("provisional", "keep", 1.6)
    assert campaign.best_score == pytest.approx(1.61)  # the mean over fresh seeds, not the lucky first score
    closed = Confirmation.objects.get()
    assert (closed.ruling, closed.incumbent.number, closed.pairs) == ("confirmed", 0, 1)
    orders = Evaluation.objects.filter(confirmation=closed)
    assert {order.trial.number for order in orders} == {0, 1}
    assert len({order.seed for order in orders}) == 1 and trial.seed not in {order.seed for order in orders}
    event = Event.objects.get(kind=EventKind.CONFIRMATION_CLOSED)
    measured = set(Measurement.objects.filter(purpose=Purpose.CONFIRMATION).values_list("sha256", flat=True))
    assert set(event.payload["numbers"]["measurements"]) == measured and event.trial == trial
    assert build_slice(campaign, "architecture").best.number == 1
    report = report_of(campaign)
    assert (report["keeps"], report["labels"], [step["trial"] for step in report["frontier"]]) == (1, {"keep": 1}, [1])
    assert [(row.label, row.trials) for row in analytics.labels(campaign)] == [("keep", 1)]
    assert books_are_right(campaign)


def test_luck_is_refuted_and_stands_as_a_discard() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.97)
    decided(campaign, by_trial(t1=2.01))
    trial = Trial.objects.get(number=1)
    assert (trial.label, trial.standing, campaign.keep_count) == ("provisional", "discard", 0)
    assert Confirmation.objects.get().reason.startswith("0.010000 worse than the best over 1 seed: z -0.")
    assert "refuted: 0.010000 worse" in build_slice(campaign, "architecture").text()
    assert books_are_right(campaign)


def test_a_decision_follows_from_its_recorded_figures_alone() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.96)
    steps = iter([0.02, 0.035, 0.025, 0.03, 0.03, 0.03, 0.03])
    gain = 0.0

    def scores(order: Evaluation) -> float:
        nonlocal gain
        if order.trial.number == 0:
            return 2.0
        gain = next(steps)
        return 2.0 - gain

    decided(campaign, scores)
    closed = Confirmation.objects.get()
    assert closed.ruling == Ruling.CONFIRMED and 1 < closed.pairs <= confirm.MOST_PAIRS
    numbers = closed.numbers
    noise, pairs = Noise(numbers["noise_sd"], numbers["noise_df"]), [Pair(*pair[1:]) for pair in numbers["pairs"]]
    found = confirm.look(pairs, noise, numbers["part"], Direction(campaign.direction))
    assert (found.ruling, found.z, found.bound) == (closed.ruling, closed.z, closed.bound)
    earlier = confirm.look(pairs[:-1], noise, numbers["part"], Direction(campaign.direction))
    assert earlier.ruling is None
    assert (campaign.noise_sd, campaign.noise_df) == (confirm.pooled(noise, pairs).sd, 5 + 2 * (closed.pairs - 1))


def test_a_recipe_that_fails_on_another_seed_is_refuted_with_the_seed() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    decided(campaign, by_trial(t1=Label.CRASH))
    closed = Confirmation.objects.get()
    assert Trial.objects.get(number=1).standing == Label.DISCARD
    seed = Evaluation.objects.filter(confirmation=closed, trial__number=1).get().seed
    assert closed.reason == f"crash with seed {seed}: crash it is"
    assert books_are_right(campaign)


def test_a_seed_on_which_the_best_fails_is_replaced_and_too_many_of_them_refute() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    measure_repeats(campaign, by_trial(t0=Label.CRASH, t1=1.9))
    found = Confirmation.objects.get()
    assert (found.ruling, found.voids, found.pairs) == ("", 1, 0)
    decided(campaign, by_trial(t0=Label.CRASH, t1=1.9))
    found.refresh_from_db()
    assert (found.ruling, found.voids) == (Ruling.REFUTED, confirm.MOST_VOID + 1)


def test_our_own_faults_cost_a_seed_and_never_the_candidate_and_three_in_a_row_pause() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    measure_repeats(campaign, by_trial(t1=Label.HARNESS_ABORT))
    found = Confirmation.objects.get()
    assert (found.ruling, found.voids) == ("", 0)
    for _ in range(3):
        measure_repeats(campaign, lambda order: Label.HARNESS_ABORT)
    campaign.refresh_from_db()
    assert (campaign.state, campaign.state_reason) == ("paused", "3 infrastructure failures in a row")
    assert repeats.order(campaign.pk, 9, enqueue=lambda pk: None) == 0
    campaigns.change_state(campaign.pk, CampaignState.RUNNING, actor="test", reason="")
    decided(campaign, by_trial(t1=1.9))
    assert Trial.objects.get(number=1).standing == Label.KEEP and books_are_right(campaign)


def gated(label: str, score: float | None, correct: int) -> Verdict:
    numbers = {"correct": correct, "scored": 1000, "gate": 0.9}
    return Verdict(label, "" if label == "valid" else f"{0.9 - correct / 1000:.5f} below the gate", score, numbers)


@pytest.mark.parametrize("others,standing", [(912, "keep"), (902, "discard")])
def test_a_gate_is_met_by_the_mean_of_all_seeds_or_not(others: int, standing: str) -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    missed = [True]

    def scores(order: Evaluation) -> Verdict:
        if order.trial.number == 1 and missed:
            missed.pop()
            return gated(Label.DISQUALIFIED, None, 890)
        return gated("valid", 1.9 if order.trial.number else 2.0, others if order.trial.number else 905)

    decided(campaign, scores)
    closed = Confirmation.objects.get()
    assert (Trial.objects.get(number=1).standing, closed.voids) == (standing, 1)
    if standing == "discard":
        assert closed.reason == "0.00200 below the gate, in the mean over its seeds"


def test_of_several_provisional_trials_the_second_has_to_beat_the_first_once_that_is_the_best() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.95)
    run_trial(campaign, 1.80)
    run_trial(campaign, 1.97)
    truth = {0: 2.0, 1: 1.95, 2: 1.80, 3: 1.97}
    repeats.order(campaign.pk, 99, enqueue=lambda pk: None)
    # The workers of trial 1 are slow: trial 2 is confirmed first.
    orders = list(Evaluation.objects.repeats_in_flight(campaign.pk).select_related("trial", "confirmation__trial"))
    late = [order for order in orders if order.confirmation.trial.number != 2]
    held = leases.claim_evaluation(late[0].pk, "slow")
    assert held is not None
    for order in orders:
        if order not in late:
            claimed = leases.claim_evaluation(order.pk, "host")
            assert claimed is not None
            leases.post_measurement(order.pk, claimed.attempt, record(truth[order.trial.number]), b"")
            repeats.record(order.pk, Verdict("valid", "", truth[order.trial.number]))
    assert not leases.heartbeat(held.pk, held.attempt, phase="train", progress=0.5)
    assert not leases.post_measurement(held.pk, held.attempt, record(1.95), b"")
    rulings = list(Confirmation.objects.order_by("pk").values_list("trial__number", "round", "ruling"))
    assert rulings == [(1, 1, "refuted"), (2, 1, "confirmed"), (3, 1, "refuted")]
    assert "trial 2 became the best meanwhile, and this one does not look better" in build_slice(campaign, "a").text()
    assert books_are_right(campaign)


def test_whoever_still_looks_better_than_the_new_best_goes_on_against_it() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.60)
    run_trial(campaign, 1.40)
    measure_repeats(campaign, by_trial(t1=1.60, t2=1.40), most=2)  # trial 1 alone
    rows = list(
        Confirmation.objects.order_by("pk").values_list("trial__number", "round", "incumbent__number", "ruling")
    )
    assert rows == [(1, 1, 0, "confirmed"), (2, 1, 0, "superseded"), (2, 2, 1, "")]
    assert Confirmation.objects.last().part == pytest.approx(confirm.part_of_budget(None, 200))
    decided(campaign, by_trial(t1=1.60, t2=1.40))
    assert list(FrontierStep.objects.order_by("pk").values_list("number", flat=True)) == [0, 1, 2]
    assert Trial.objects.get(number=2).standing == Label.KEEP and books_are_right(campaign)


def test_each_confirmation_against_the_same_best_may_use_less() -> None:
    campaign = calibrated()
    for _ in range(3):
        run_trial(campaign, 1.97)
    parts = list(Confirmation.objects.order_by("pk").values_list("part", flat=True))
    assert parts[0] == pytest.approx(confirm.BUDGET / 24) and parts[1] == pytest.approx(parts[0] * 23 / 24)
    assert parts == sorted(parts, reverse=True)


def test_one_slot_measures_candidate_and_best_one_after_the_other() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.6)
    [first] = measure_repeats(campaign, by_trial(t1=1.6), most=1)
    [second] = measure_repeats(campaign, by_trial(t1=1.6), most=1)
    assert (first.trial.number, second.trial.number) == (1, 0) and first.seed == second.seed
    assert Confirmation.objects.get().ruling == Ruling.CONFIRMED


def test_stopping_leaves_what_is_provisional_provisional() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    measure_repeats(campaign, by_trial(t1=1.99, t0=2.0))
    repeats.order(campaign.pk, 1, enqueue=lambda pk: None)
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="test", reason="enough")
    campaign.refresh_from_db()
    trial = Trial.objects.get(number=1)
    assert (trial.standing, campaign.best_trial.number) == (Label.PROVISIONAL, 0)
    assert Confirmation.objects.get().ruling == Ruling.ABANDONED
    assert not Evaluation.objects.in_flight().exists() and books_are_right(campaign)


def test_a_reproducible_campaign_records_nothing_behind_a_trial_that_is_not_decided() -> None:
    campaign = calibrated(reproducible=True)
    run_trial(campaign, 1.6)
    held = start(submit(campaign))
    leases.post_measurement(held.pk, held.attempt, record(1.4), b"")
    assert judge_measured(campaign.pk) == 0
    repeats.order(campaign.pk, 2, enqueue=lambda pk: None)
    for order in Evaluation.objects.repeats_in_flight(campaign.pk).select_related("trial"):
        claimed = leases.claim_evaluation(order.pk, "host")
        assert claimed is not None
        body = record(1.6 if order.trial.number else 2.0, train_units=1, eval_units=1)
        leases.post_measurement(order.pk, claimed.attempt, body, b"")
    assert judge_measured(campaign.pk) == 3
    trials = dict(Trial.objects.of(campaign.pk).values_list("number", "standing"))
    assert trials == {0: "baseline", 1: "keep", 2: "provisional"}
    assert Confirmation.objects.last().incumbent.number == 1


CHANGES = [
    "UPDATE trials_trial SET standing = 'keep' WHERE number = 2",
    "UPDATE trials_trial SET standing = 'discard' WHERE number = 1",
    "UPDATE trials_trial SET standing = 'crash' WHERE number = 3",
    "UPDATE trials_trial SET standing = 'keep', score = 0 WHERE number = 3",
    "UPDATE trials_trial SET label = 'keep', standing = 'keep' WHERE number = 3",
    "UPDATE trials_confirmation SET ruling = 'refuted' WHERE ruling <> ''",
    "DELETE FROM trials_confirmation",
]


@pytest.mark.parametrize("statement", CHANGES)
def test_the_database_lets_a_standing_change_once_and_nothing_else(statement: str) -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    decided(campaign, by_trial(t1=1.9))
    run_trial(campaign, 1.95)
    run_trial(campaign, 1.85)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert books_are_right(campaign)


def test_start_and_best_are_sealed_on_the_same_five_seeds_with_intervals() -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    decided(campaign, by_trial(t1=1.9))
    orders = submissions.order_sealed(campaign.pk, reason="done", actor="test", enqueue=lambda pk: None)
    seeds = {number: [order.seed for order in orders if order.trial.number == number] for number in (0, 1)}
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 5
    assert not set(seeds[0]) & set(Evaluation.objects.exclude(purpose=Purpose.SEALED).values_list("seed", flat=True))
    for place, order in enumerate(orders):
        claimed = leases.claim_evaluation(order.pk, "host")
        assert claimed is not None
        score = (2.1, 1.9)[order.trial.number] + 0.01 * (place % 3)
        leases.post_measurement(order.pk, claimed.attempt, record(score, split="sealed"), b"")
    assert judge_measured(campaign.pk) == 10
    campaign.refresh_from_db()
    sealed = report_of(campaign)["sealed"]
    assert sealed["seeds"] == 5 and sealed["start"] > sealed["best"]
    assert sealed["best_interval"][0] < sealed["best"] < sealed["best_interval"][1]
    low, high = sealed["difference_interval"]
    assert sealed["difference"] == pytest.approx(sealed["best"] - sealed["start"])
    assert low < sealed["difference"] < high < 0
    assert books_are_right(campaign)


def test_strict_measures_nothing_twice() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None)
    assert repeats.wanted(campaign) == 0
    assert run_trial(campaign, 1.999999).standing == Label.KEEP
    orders = submissions.order_sealed(campaign.pk, reason="done", actor="test", enqueue=lambda pk: None)
    assert [order.seed for order in orders] == [campaign.seed, campaign.seed]
    assert report_of(campaign)["noise_sd"] is None
