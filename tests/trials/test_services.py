"""What the only writer of the record promises."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from evaluators.services import judge_measured
from tests.conftest import LEDGER
from tests.factories import finish, make_campaign, order_of, record, run_trial, start, submit
from trials.chain import chain_hash
from trials.models import Blob, Campaign, Event, FrontierStep, Measurement, Rollup, Trial
from trials.services import campaigns, leases, outcomes, standings, submissions
from trials.services.blobs import CorruptBlob, get_blob, get_tree, put_blob, put_tree
from trials.services.events import append_site_event
from trials.vocab import CampaignState, EvaluationState, EventKind, Label, SiteEventKind, TrialState

pytestmark = pytest.mark.django_db


def chain_is_whole(campaign: Campaign) -> bool:
    """Recompute the event chain from the stored rows alone."""
    previous = ""
    events = list(Event.objects.filter(campaign=campaign).select_related("trial").order_by("seq"))
    for seq, event in enumerate(events, start=1):
        expected = chain_hash(
            seq=seq,
            at=event.at,
            kind=event.kind,
            actor=event.actor,
            trial=None if event.trial is None else event.trial.number,
            body=event.body,
            previous=previous,
            salt=event.salt,
        )
        if (event.seq, event.previous_sha256, event.sha256) != (seq, previous, expected):
            return False
        previous = expected
    campaign.refresh_from_db()
    return campaign.head_sha256 == previous and campaign.last_seq == len(events)


def test_a_search_is_recorded_with_dense_numbers_frontier_rollups_and_a_whole_chain() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None)
    kept = run_trial(campaign, 1.9)
    run_trial(campaign, 1.95)
    blocked = run_trial(
        campaign, None, Label.SIZE_BLOCKED, role="optimization", reason="2056 bytes over", numbers={"bytes_over": 2056}
    )
    campaign.refresh_from_db()

    trials = Trial.objects.of(campaign.pk).order_by("number")
    assert list(trials.values_list("number", "label")) == [
        (0, "baseline"),
        (1, "keep"),
        (2, "discard"),
        (3, "size_blocked"),
    ]
    assert (campaign.start_score, campaign.best_score, campaign.best_trial_id) == (2.0, 1.9, kept.pk)
    assert (campaign.trial_count, campaign.keep_count) == (3, 1)
    assert campaign.improvement == pytest.approx(-0.05)
    assert list(FrontierStep.objects.values_list("number", "score")) == [(0, 2.0), (1, 1.9)]
    cells = Rollup.objects.counts(campaign.pk, "role", "label")
    assert {(cell["role"], cell["label"]): cell["trials"] for cell in cells} == {
        ("baseline", "baseline"): 1,
        ("architecture", "keep"): 1,
        ("architecture", "discard"): 1,
        ("optimization", "size_blocked"): 1,
    }
    assert blocked.numbers == {"bytes_over": 2056}
    assert trials[2].delta_vs_best == pytest.approx(0.05)
    assert trials[1].delta_vs_parent == pytest.approx(-0.1)
    assert chain_is_whole(campaign)


@pytest.mark.parametrize("direction,score,label", [("lower", 2.0, "discard"), ("higher", 2.1, "keep")])
def test_strict_keeps_only_what_is_strictly_better(direction: str, score: float, label: str) -> None:
    spec = {**make_campaign().spec, "direction": direction}
    campaign = make_campaign(spec=spec)
    run_trial(campaign, 2.0, parent=None)
    assert run_trial(campaign, score).label == label


def test_an_identical_source_tree_is_refused_and_names_its_twin() -> None:
    campaign = make_campaign()
    first = submit(campaign, parent=None)
    events = Event.objects.count()
    with pytest.raises(submissions.DuplicateSource) as refused:
        submit(campaign, files=get_tree(first.source_id))
    assert refused.value.number == 0
    assert (Trial.objects.count(), Event.objects.count()) == (1, events)


def test_no_trial_is_accepted_beyond_the_limit_or_after_a_pause() -> None:
    campaign = make_campaign(max_trials=1)
    run_trial(campaign, 2.0, parent=None)
    submit(campaign)
    with pytest.raises(submissions.NotAccepting, match="has its 1 trials"):
        submit(campaign)
    campaigns.change_state(campaign.pk, CampaignState.PAUSED, actor="test", reason="")
    with pytest.raises(submissions.NotAccepting, match="is paused"):
        submit(campaign)


def test_a_work_order_is_claimed_once() -> None:
    order = order_of(submit(make_campaign(), parent=None))
    assert leases.claim_evaluation(order.pk, "first") is not None
    assert leases.claim_evaluation(order.pk, "second") is None


def test_a_lost_attempt_can_neither_heartbeat_nor_post() -> None:
    campaign = make_campaign()
    first = start(submit(campaign, parent=None))
    assert leases.heartbeat(first.pk, first.attempt, phase="train", progress=0.5)
    assert leases.give_back(first.pk, first.attempt, "worker stopped answering") is EvaluationState.QUEUED
    assert Trial.objects.get().state == TrialState.QUEUED
    second = leases.claim_evaluation(first.pk, "other")
    assert second is not None and second.attempt == 2

    assert not leases.heartbeat(first.pk, first.attempt, phase="train", progress=0.9)
    assert not leases.post_measurement(first.pk, first.attempt, record(1.0), b"")
    assert leases.post_measurement(second.pk, second.attempt, record(2.0), b"")
    assert Measurement.objects.get().score == 2.0


def test_three_faults_of_our_own_close_a_trial_as_harness_abort_and_three_such_trials_pause_the_campaign() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None)
    for _ in range(standings.BREAKER_ABORTS):
        order = order_of(submit(campaign))
        for attempt in range(1, leases.MAX_ATTEMPTS + 1):
            assert leases.claim_evaluation(order.pk, "host") is not None
            leases.give_back(order.pk, attempt, "OSError: disk full")
        assert judge_measured(campaign.pk) == 1
        assert Trial.objects.get(evaluations=order).label == Label.HARNESS_ABORT
    campaign.refresh_from_db()
    assert (campaign.trial_count, campaign.state) == (0, CampaignState.PAUSED)
    assert campaign.state_reason == "3 infrastructure failures in a row"
    assert chain_is_whole(campaign)


def test_an_outcome_is_recorded_once() -> None:
    campaign = make_campaign()
    evaluation = start(submit(campaign, parent=None))
    finish(evaluation, 2.0)
    again = outcomes.record_outcome(evaluation.pk, outcomes.Verdict("valid", "", 1.0))
    assert again is None
    assert Trial.objects.get().score == 2.0
    assert Event.objects.filter(kind=EventKind.TRIAL_FINISHED).count() == 1


def test_stopping_cancels_what_is_in_flight_and_keeps_it_on_record() -> None:
    campaign = make_campaign()
    evaluation = start(submit(campaign, parent=None))
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="admin", reason="enough")
    assert Trial.objects.get().state == TrialState.CANCELLED
    assert not leases.heartbeat(evaluation.pk, evaluation.attempt, phase="train", progress=0.5)
    with pytest.raises(campaigns.WrongState, match="is stopped"):
        campaigns.change_state(campaign.pk, CampaignState.RUNNING, actor="admin", reason="")


CHANGES = [
    "UPDATE trials_event SET actor = 'x'",
    "DELETE FROM trials_event",
    "UPDATE trials_measurement SET score = 0",
    "DELETE FROM trials_measurement",
    "UPDATE trials_blob SET size = 0",
    "DELETE FROM trials_blob",
    "UPDATE trials_trial SET score = 0",
    "DELETE FROM trials_trial",
    "UPDATE trials_siteevent SET actor = 'x'",
    "DELETE FROM trials_siteevent",
]


@pytest.mark.parametrize("statement", CHANGES)
def test_the_database_refuses_to_change_the_ledger(statement: str) -> None:
    run_trial(make_campaign(), 2.0, parent=None)
    append_site_event(SiteEventKind.LOGGED_IN, "ada", {})
    for mode in ("origin", "replica"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL session_replication_role = {mode}")
            cursor.execute(statement)


@pytest.mark.parametrize("table", LEDGER)
def test_the_database_refuses_to_empty_the_ledger(table: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate")
        cursor.execute(f"TRUNCATE {table} CASCADE")


def test_blobs_are_stored_once_and_verified_on_read() -> None:
    assert put_blob(b"weights") == put_blob(b"weights")
    assert Blob.objects.count() == 1
    tree = {"a.py": b"x = 1\n", "b.py": b""}
    name = put_tree(tree)
    get_tree(name)["b.py"] = b"changed by who asked"
    assert get_tree(name) == tree
    wrong = Blob.objects.create(sha256="f" * 64, size=1, data=Blob.objects.first().data)
    with pytest.raises(CorruptBlob):
        get_blob(wrong.sha256)


@pytest.mark.django_db(transaction=True)
def test_events_of_parallel_writers_are_numbered_without_gaps() -> None:
    campaign = make_campaign(max_trials=500)
    run_trial(campaign, 2.0, parent=None)
    errors: list[BaseException] = []

    def write(worker: int) -> None:
        try:
            for turn in range(8):
                files = {"a.py": f"{worker} {turn}".encode()}
                finish(start(submit(campaign, files=files)), 1.9 + worker / 100)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    numbers: list[Any] = list(Trial.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(33))
    assert chain_is_whole(campaign)
