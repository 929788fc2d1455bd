"""A session belongs to one worker at a time: second deliveries, silent workers, campaigns that end meanwhile."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from evaluators.services import Heartbeat
from specialists import launch, lease, services, sessions
from specialists.models import Call, Session
from specialists.vocab import SessionState
from tests.specialists.llm_server import Asked, Reply, serving
from tests.specialists.llm_tools import begin, honest, llm_campaign, point_at, run, spent
from trials.models import Evaluation, Event, Trial


@pytest.mark.django_db
def test_a_second_delivery_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 600.0)
    with serving(honest) as server:
        point_at(monkeypatch, server)
        session = begin(llm_campaign(slots=1))  # else a message too many is a ticket for the next session that waits
        held = sessions.claim(session.pk)
        assert held is not None and sessions.claim(session.pk) is None
        services.run_session(session.pk)
        assert server.asked == [] and Session.objects.get(pk=session.pk).state == "running"


@pytest.mark.django_db
def test_a_silent_worker_loses_its_session_and_the_slot_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 600.0)
    with serving(honest) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign(slots=1)
        session = begin(campaign)
        held = sessions.claim(session.pk)
        assert held is not None
        services.tick()
        assert Session.objects.get(pk=session.pk).state == "running"
        Session.objects.filter(pk=session.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        services.tick()
        session.refresh_from_db()
        assert (session.state, session.fault) == ("failed", "worker")
        assert session.note == f"worker {held.worker} stopped answering"
        assert Session.objects.filter(campaign=campaign, state="running").count() == 1  # the slot works again
        assert not sessions.close(held, SessionState.FAILED, note="late", view="")
        ended = Event.objects.get(kind="session_ended").payload
    assert (ended["fault"], ended["usage"]["requests"]) == ("worker", 0)


def test_a_lease_that_ends_before_it_is_renewed_asks_for_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(
        type(connections), "create_connection", lambda _, alias: made.append(threading.current_thread().name)
    )
    with lease.Lease(Session(pk=1)), Heartbeat(Evaluation(pk=1, attempt=1)):
        pass
    assert made == []


@pytest.mark.django_db
def test_a_lost_message_is_sent_again_and_the_session_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 600.0)
    with serving(honest) as server:
        point_at(monkeypatch, server)
        session = begin(llm_campaign(slots=1))
        Session.objects.filter(pk=session.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        services.tick()
        session.refresh_from_db()
        assert (session.state, session.worker) == ("running", "") and session.lease_expires_at > timezone.now()
        assert run(session).state == "submitted"
        assert run(session).state == "submitted" and len(server.asked) == 3


@pytest.mark.django_db(transaction=True)
def test_the_lease_is_renewed_while_a_model_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    renewed: list[timedelta] = []

    def slow(asked: Asked) -> Reply:
        deadline = time.monotonic() + 60
        before = Session.objects.get().lease_expires_at
        while Session.objects.get().lease_expires_at <= before and time.monotonic() < deadline:
            time.sleep(0.02)
        renewed.append(Session.objects.get().lease_expires_at - before)
        connection.close()
        return honest(asked)

    with serving(slow) as server:
        point_at(monkeypatch, server)
        session = run(begin(llm_campaign(slots=1)))
    assert session.state == "submitted", session.note
    assert len(renewed) == 3 and all(more > timedelta(0) for more in renewed)


@pytest.mark.django_db(transaction=True)
def test_stopping_a_campaign_ends_its_sessions_before_their_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    lost = threading.Event()
    renew = sessions.renew

    def watched(session: Session) -> bool:
        held = renew(session)
        if not held:
            lost.set()
        return held

    monkeypatch.setattr(sessions, "renew", watched)

    def stops(asked: Asked) -> Reply:
        launch.stop(Session.objects.select_related("campaign").get().campaign, actor="ada")
        connection.close()
        lost.wait(60)
        return honest(asked)

    with serving(stops) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign(slots=1)
        session = run(begin(campaign))
    assert (session.state, session.fault, len(server.asked)) == ("failed", "campaign", 1)
    assert Call.objects.get().input_tokens > 0 and spent(campaign) > 0  # what was used was used


@pytest.mark.django_db
def test_a_session_that_was_paid_for_is_submitted_though_its_campaign_was_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 600.0)
    with serving(honest) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign(slots=1)
        session = begin(campaign)
        launch.pause(campaign, actor="ada")
        assert run(session).state == "submitted"
    assert Trial.objects.of(campaign.pk).count() == 2
    assert Session.objects.filter(campaign=campaign, state="running").count() == 0
