"""Probes and metrics: what they say when all is well, what when something is away, and to whom."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from autoresearch_site import readiness
from autoresearch_site import settings as read
from specialists.models import Session
from specialists.operations import figures
from tests.conftest import ROOT
from tests.factories import make_campaign, run_trial, start, submit
from trials.models import Campaign, Evaluation
from trials.services import witness, workers
from trials.services.events import site_id

OK = {"database": "ok", "migrations": "ok", "broker": "ok", "record": "ok"}
Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    readiness._latest.clear()
    yield
    readiness._latest.clear()


def ready() -> tuple[int, dict[str, str]]:
    answer = Client().get("/readyz", headers={"Host": "10.1.2.3"})
    return answer.status_code, answer.json()


def test_alive_without_a_database() -> None:
    """Any access to a database fails in a test that has not asked for one."""
    answer = Client().get("/healthz", headers={"Host": "10.1.2.3"})
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.django_db
def test_ready_when_all_is_there_and_what_is_missing_by_name(settings: Any) -> None:
    assert ready() == (200, {"status": "ready", **OK})
    latest = MigrationRecorder.Migration.objects.filter(app="trials").order_by("-name").first()
    assert latest is not None
    MigrationRecorder(connection).record_unapplied("trials", latest.name)
    assert ready()[0] == 200, "asked again too soon"
    readiness._latest.clear()
    assert ready() == (503, {"status": "not ready", **OK, "migrations": "failed"})
    MigrationRecorder(connection).record_applied("trials", latest.name)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    readiness._latest.clear()
    assert ready() == (503, {"status": "not ready", **OK, "broker": "failed"})


@pytest.mark.django_db(transaction=True)
def test_not_ready_on_a_record_that_lost_events(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    campaign.refresh_from_db()
    assert ready() == (200, {"status": "ready", **OK})
    witness.note(site_id(), campaign.chain, campaign.last_seq + 3, "0" * 64)
    readiness._latest.clear()
    assert ready() == (503, {"status": "not ready", **OK, "record": "failed"})
    witness.forget(site_id(), campaign.chain)
    connection.close()
    with monkeypatch.context() as elsewhere:
        elsewhere.setitem(connection.settings_dict, "NAME", "nowhere")
        readiness._latest.clear()
        away = {"database": "failed", "migrations": "unknown", "record": "unknown", "broker": "ok"}
        assert ready() == (503, {"status": "not ready", **away})
        assert Client().get("/healthz").status_code == 200
    connection.close()


def test_the_running_site_answers_probes_by_address(site_url: str) -> None:
    for path, said in (("/healthz", "alive"), ("/readyz", "ready")):
        asked = urllib.request.Request(site_url + path, headers={"Host": "192.0.2.7"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert json.load(answer)["status"] == said


def samples(text: str) -> dict[Sample, float]:
    return {
        (sample.name.removeprefix("autoresearch_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found: dict[Sample, float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def busy_site() -> Campaign:
    """One trial done, one failed, one at work, one waiting; a worker; a session without a worker."""
    campaign = make_campaign(slots=4)
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.1)
    run_trial(campaign, None, "crash", reason="it crashed")
    start(submit(campaign))
    submit(campaign)
    now = timezone.now()
    Session.objects.create(campaign=campaign, number=0, role="a", seed=0, started_at=now, lease_expires_at=now)
    workers.announce(workers.Capability("host:1", "cpu", "toy", 1, 1 << 34, "L3"))
    campaign.refresh_from_db()
    return campaign


@pytest.mark.django_db
def test_metrics_say_what_the_rows_say(settings: Any) -> None:
    campaign = busy_site()
    long_ago = timezone.now() - timedelta(seconds=90)
    Evaluation.objects.filter(state="queued").update(queued_at=long_ago)
    Evaluation.objects.filter(state="running").update(lease_expires_at=long_ago)
    settings.METRICS_TOKEN = "scrape-me-please"
    answer = Client().get("/metrics", headers={"Authorization": "Bearer scrape-me-please"})
    assert answer.status_code == 200 and answer["Content-Type"].startswith("text/plain")
    found, slug = samples(answer.content.decode()), campaign.slug
    assert of(found, "work_orders", device="cpu", state="queued") == 1
    assert of(found, "work_orders", device="cpu", state="running") == 1
    assert 90 <= of(found, "work_order_age_seconds", device="cpu", state="queued") < 600
    assert 90 <= of(found, "lease_overdue_seconds", device="cpu") < 600
    assert of(found, "workers_busy", device="cpu") == 1
    assert of(found, "workers", device="cpu", level="L3") == of(found, "worker_devices", device="cpu", level="L3") == 1
    assert of(found, "sessions", proposer="catalog", state="waiting") == 1
    assert of(found, "sessions", proposer="catalog", state="working") == 0
    assert of(found, "campaigns", state="running") == 1 and of(found, "campaigns", state="failed") == 0
    assert of(found, "campaign_trials_total", campaign=slug) == campaign.trial_count == of(found, "trials")
    assert of(found, "campaign_keeps_total", campaign=slug) == campaign.keep_count == 1
    assert of(found, "campaign_events_total", campaign=slug) == campaign.last_seq == of(found, "events")
    standings = {
        dict(key[1])["label"]: value
        for key, value in found.items()
        if key[0] == "campaign_standings" and dict(key[1])["campaign"] == slug
    }
    assert standings == {"baseline": 1, "keep": 1, "crash": 1}
    measured = sum((one.run_seconds or 0) + (one.eval_seconds or 0) for one in campaign.trials.all())
    assert of(found, "campaign_device_seconds_total", campaign=slug, device="cpu") == pytest.approx(measured, abs=0.01)
    assert of(found, "campaign_trials_per_hour", campaign=slug) == pytest.approx(3 * 64, rel=0.01)  # a 64th of an hour
    assert of(found, "broker_messages", queue="agents") >= 0
    manual = (ROOT / "docs" / "operating.md").read_text()
    assert [name for name, _ in found if f"`{name}`" not in manual] == []


@pytest.mark.django_db
def test_metrics_cost_the_same_queries_at_any_size() -> None:
    busy_site()
    with CaptureQueriesContext(connection) as one:
        figures.read()
    for _ in range(3):
        busy_site()
    with CaptureQueriesContext(connection) as four:
        found = figures.read()
    assert len(found.campaigns) == 4
    assert len(one) == len(four) <= 10
    assert not any('FROM "trials_trial"' in query["sql"] or 'FROM "trials_event"' in query["sql"] for query in four)


@pytest.mark.django_db
def test_a_campaign_that_ended_long_ago_is_in_the_sums_only() -> None:
    campaign = busy_site()
    Campaign.objects.filter(pk=campaign.pk).update(state="finished", finished_at=timezone.now() - timedelta(days=2))
    found = figures.read()
    assert found.campaigns == [] and found.trials == campaign.trial_count and found.states == {"finished": 1}


@pytest.mark.django_db
def test_metrics_are_for_those_who_may(settings: Any) -> None:
    assert Client().get("/metrics").status_code == 403
    settings.METRICS_TOKEN = "scrape-me-please"
    assert Client().get("/metrics", headers={"Authorization": "Bearer scrape-me"}).status_code == 403
    assert Client().get("/metrics", headers={"Authorization": "Basic scrape-me-please"}).status_code == 403
    for name, superuser, expected in (("anna", False, 403), ("root", True, 200)):
        client = Client()
        client.force_login(User.objects.create_user(name, is_superuser=superuser))
        assert client.get("/metrics").status_code == expected
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("METRICS_NETWORKS", "10.0.0.0/8, ::1")
        settings.METRICS_NETWORKS = read.networks("METRICS_NETWORKS")
    assert Client(REMOTE_ADDR="10.20.30.40").get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="11.20.30.40").get("/metrics").status_code == 403
    assert Client(REMOTE_ADDR="").get("/metrics").status_code == 403
