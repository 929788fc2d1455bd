"""Clocks that disagree, a database that was away, ticks that pile up: what each of them may not change."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import kombu
import pytest
import redis.exceptions
from celery.beat import Scheduler
from django.conf import settings
from django.core.cache import cache
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from autoresearch_site import steady
from autoresearch_site.celery import app
from specialists import services, sessions, tasks
from specialists.models import Session
from specialists.vocab import SessionState
from tests.factories import finish, make_campaign, run_trial, start, submit
from trials import clock, patience
from trials.commits import after_commit
from trials.models import Campaign, Evaluation, Rollup
from trials.services import leases
from trials.services.campaigns import change_state
from trials.vocab import CampaignState, EvaluationState


@pytest.mark.django_db
@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(days=-1)])
def test_a_host_whose_clock_was_set_takes_nobodys_trial_and_records_its_own(
    step: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None)
    held = start(submit(campaign))
    monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC) + step)
    assert leases.expired() == []
    assert leases.heartbeat(held.pk, held.attempt, phase="train", progress=0.5)
    held.refresh_from_db()
    assert held.lease_expires_at is not None
    assert abs(held.lease_expires_at - clock.now()) < timedelta(seconds=30)
    trial = finish(held, 1.9)
    assert trial.run_seconds is not None and 0 <= trial.run_seconds < 60
    assert set(Rollup.objects.values_list("hour", flat=True)) == {0}


@pytest.mark.django_db
def test_whoever_could_not_speak_while_the_database_was_away_keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None)
    order, now = start(submit(campaign)), clock.now()
    Evaluation.objects.filter(pk=order.pk).update(lease_expires_at=now - timedelta(seconds=5))
    Session.objects.create(
        campaign=campaign, number=0, role="architecture", seed=1, started_at=now, worker="host:1",
        lease_expires_at=now - timedelta(seconds=5),
    )  # fmt: skip
    monkeypatch.setattr(clock, "serving_since", lambda: now - timedelta(seconds=1))
    assert (leases.expired(), sessions.expired()) == ([], [])
    monkeypatch.setattr(clock, "serving_since", lambda: now - timedelta(days=1))
    assert [found.pk for found in leases.expired()] == [order.pk]
    assert [found.number for found in sessions.expired()] == [0]


@pytest.mark.django_db
def test_a_campaign_that_cannot_go_on_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ill, well = make_campaign(name="ill"), make_campaign(name="well")
    went_on = []

    def go_on(campaign: Campaign) -> None:
        if campaign.pk == ill.pk:
            raise RuntimeError("a row that nobody foresaw")
        went_on.append(campaign.pk)

    monkeypatch.setattr(services, "_go_on", go_on)
    services.tick()
    assert went_on == [well.pk]


@pytest.mark.django_db
def test_a_measurement_that_is_late_or_comes_twice_changes_nothing() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None)
    first = start(submit(campaign), worker="host:1")
    assert leases.give_back(first.pk, first.attempt, "worker host:1 stopped answering") == EvaluationState.QUEUED
    assert leases.give_back(first.pk, first.attempt, "worker host:1 stopped answering") is None
    second = start(first.trial, worker="host:2")
    assert not leases.post_measurement(first.pk, first.attempt, {"status": "ok", "score": 1.0}, b"")
    finish(second, 1.9)
    assert not leases.post_measurement(second.pk, second.attempt, {"status": "ok", "score": 1.0}, b"")
    change_state(campaign.pk, CampaignState.STOPPED, actor="test", reason="enough")
    assert leases.claim_evaluation(second.pk, "host:3") is None
    assert not Session.objects.filter(state=SessionState.RUNNING).exists()


@pytest.mark.django_db(transaction=True)
def test_a_write_is_repeated_until_the_database_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    asked: list[int] = []

    def write() -> str:
        asked.append(1)
        with connection.cursor() as cursor:  # the first two times the server ends the connection meanwhile
            cursor.execute("SELECT CASE WHEN %s THEN pg_terminate_backend(pg_backend_pid()) END", [len(asked) < 3])
        return "written"

    assert patience.until_answered(write, "posting") == "written"
    assert len(asked) == 3
    asked.clear()
    with pytest.raises(OperationalError):
        patience.until_answered(write, "posting", within=0.0)
    connection.close()
    assert len(asked) == 1


@pytest.mark.parametrize("step", [timedelta(days=365), timedelta(days=-365)])
def test_the_beat_goes_on_when_its_clock_is_set(step: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1000.0
    monkeypatch.setattr(steady.time, "monotonic", lambda: moment)
    scheduler, sent = Scheduler(app=app, lazy=False), []
    monkeypatch.setattr(scheduler, "apply_async", lambda entry, **_: sent.append(entry.task))
    scheduler.tick()
    monkeypatch.setattr(app.loader, "now", lambda utc=False: datetime.now(UTC) + step, raising=False)
    monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC) + step)
    sent.clear()
    for _ in range(20):  # seconds; a look sends one message at most, so one of two that are due is a second late
        moment += 1.0
        scheduler.tick()
    assert 3 <= sent.count("specialists.tick") <= 4
    assert 1 <= sent.count("trials.notices") <= 2


@pytest.mark.django_db(transaction=True)
def test_a_message_that_cannot_be_sent_is_no_failed_write(caplog: pytest.LogCaptureFixture) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None)
    noted: list[int] = []

    def enqueue(evaluation_id: int) -> None:
        raise ConnectionError("the broker is away")

    with transaction.atomic():
        trial = submit(campaign)
        after_commit(partial(enqueue), 1)
        after_commit(noted.append, 1)
    assert (trial.number, noted) == (1, [1])
    assert "the broker is away" in caplog.text


def test_a_connection_to_the_broker_that_is_closed_again_is_a_lost_one() -> None:
    with kombu.Connection(settings.BROKER_URL) as broker:
        channel = broker.channel()
        channel.connection.client, there = None, channel.connection.client
        with pytest.raises(broker.connection_errors, match="was closed"):
            channel._connparams()
        channel.connection.client = there


def test_a_message_that_is_taken_and_not_done_goes_back_and_has_no_copy_meanwhile() -> None:
    def connected() -> kombu.Connection:
        return kombu.Connection(settings.BROKER_URL, transport_options=settings.CELERY_BROKER_TRANSPORT_OPTIONS)

    with connected() as broker, broker.SimpleQueue("taken") as queue:
        queue.put("work")
        assert queue.get(timeout=10).payload == "work"
        client = queue.channel._create_client()
        assert client is queue.channel._create_client()
        assert [client.exists(name) for name in ("taken", "unacked", "unacked_index")] == [0, 0, 0]
    with connected() as broker, broker.SimpleQueue("taken") as queue:
        message = queue.get(timeout=10)
        assert message.payload == "work"
        message.ack()


def test_a_message_that_no_broker_takes_back_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    with kombu.Connection(settings.BROKER_URL, transport_options=options) as broker:
        queue = broker.SimpleQueue("untaken")
        queue.put("work")
        assert queue.get(timeout=10).payload == "work"
        asked = []

        def away(*_: object, **__: object) -> None:
            asked.append(1)
            raise redis.exceptions.ConnectionError("the broker is away")

        monkeypatch.setattr(queue.channel, "_put", away)
        queue.channel.close()
    assert (asked, list(tmp_path.iterdir())) == ([1], [])


@pytest.mark.django_db
def test_ticks_that_piled_up_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.delete("tick")
    done = []
    monkeypatch.setattr(services, "tick", lambda: done.append(1))
    for _ in range(5):
        tasks.tick()
    assert done == [1]
    monkeypatch.setattr(tasks, "cache", None)  # a cache that does not answer holds up nothing
    tasks.tick()
    assert done == [1, 1]
