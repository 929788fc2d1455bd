"""A whole campaign over each broker that an operator may bring, by environment variables alone: TLS and a password."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from benchmarks.servers import RABBITMQ, RabbitMQ, Redis, Server
from tests.conftest import ROOT, process_environment, running
from tests.site.census import until
from trials.invariants import check_campaign
from trials.models import Campaign, Measurement
from trials.vocab import CampaignState

LAUNCH = """
import django
django.setup()
from specialists.launch import LaunchSettings, launch_campaign
launch_campaign(
    LaunchSettings("parameter_golf", "smoke", keep_rule="strict", trials=1, slots=1, name="over a broker"), actor="test"
)
"""
ENDS_WITHIN = 300.0


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, tls: Path) -> Iterator[Server]:
    """A server from Debian's packages that speaks nothing but TLS."""
    if request.param == "redis" and not (shutil.which("redis-server") or shutil.which("valkey-server")):
        pytest.skip("redis-server is not installed: as root, apt-get install redis-server")
    if request.param == "rabbitmq" and not RABBITMQ.exists():
        pytest.skip("rabbitmq-server is not installed: as root, apt-get install rabbitmq-server")
    server = (Redis if request.param == "redis" else RabbitMQ)(tmp_path / "broker", tls=tls)
    server.start()
    yield server
    server.stop()


@pytest.mark.django_db(transaction=True)
def test_a_campaign_runs_to_its_end(broker: Server, tls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", broker.url)
    monkeypatch.setenv("BROKER_CA_FILE", str(tls / "ca.pem"))
    if isinstance(broker, RabbitMQ):  # the live channel needs Redis or Valkey
        monkeypatch.setenv("REDIS_URL", settings.REDIS_URL)
    queues = ("-Q", "agents,default,evaluators.cpu", "-c", "2")
    worker = ("celery", "-A", "autoresearch_site", "worker", "--loglevel", "INFO", "-n", "all@test", *queues)
    with running(*worker, log=tmp_path / "worker.log"):
        subprocess.run([sys.executable, "-c", LAUNCH], cwd=ROOT, env=process_environment(), check=True)
        ended = until(lambda: not Campaign.objects.live().exists(), ENDS_WITHIN)
    campaign = Campaign.objects.select_related("best_trial").get()
    log = (tmp_path / "worker.log").read_text()
    assert ended and campaign.state == CampaignState.FINISHED, log[-3000:]
    assert (campaign.trial_count, list(check_campaign(campaign))) == (1, [])
    assert Measurement.objects.count() >= 3
    assert f"{'amqps' if isinstance(broker, RabbitMQ) else 'rediss'}://" in log
