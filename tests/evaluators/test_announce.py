"""Evaluator processes announce themselves; a trial that nobody can take says why, and is taken when somebody can."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from evaluators import services
from evaluators.announce import Announcer, capability, worker_name
from evaluators.sandbox.reach import FORCE
from tests.factories import make_campaign, submit
from trials.analytics import phases
from trials.models import Campaign, Evaluation
from trials.services import workers
from trials.worker_models import Worker

SOON = 30.0


def until(condition: object) -> bool:
    """Wait for a condition (a callable); false when it does not come true."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def test_capability_names_machine_and_walls() -> None:
    found = capability("cpu")
    assert (found.name, found.device, found.devices, found.level) == (worker_name(), "cpu", 1, "L3")
    assert found.memory_bytes > 1 << 30 and found.device_name
    assert set(found.details["isolation"]["details"]["self_test"].values()) == {True}
    assert found.details["machine"]["torch"]
    with pytest.raises(ValueError, match="tpu"):
        capability("tpu")


@pytest.mark.django_db(transaction=True)
def test_an_announcer_comes_stays_and_leaves() -> None:
    announcer = Announcer("cpu")
    announcer.start()
    assert until(Worker.objects.alive(timezone.now()).filter(name=worker_name()).exists)
    Worker.objects.all().delete()  # a database that was restored from yesterday
    assert until(Worker.objects.filter(name=worker_name(), level="L3").exists)
    announcer.stop()
    assert not Worker.objects.exists()


@pytest.mark.django_db
def test_silent_workers_do_not_count_and_are_forgotten() -> None:
    found = capability("cpu")
    workers.announce(found)
    assert Worker.objects.alive(timezone.now()).count() == 1
    Worker.objects.update(seen_at=timezone.now() - timedelta(seconds=30))
    assert Worker.objects.alive(timezone.now()).count() == 0
    assert workers.seen(found.name) and Worker.objects.alive(timezone.now()).count() == 1
    Worker.objects.create(
        name="gone:1", device="cpu", started_at=timezone.now(), seen_at=timezone.now() - timedelta(days=2)
    )
    workers.announce(found)
    assert list(Worker.objects.values_list("name", flat=True)) == [found.name]


def queued(campaign: Campaign) -> Evaluation:
    order = submit(campaign, parent=None).evaluations.get()
    Evaluation.objects.filter(pk=order.pk).update(queued_at=timezone.now() - timedelta(minutes=1))
    return order


@pytest.mark.django_db
def test_a_waiting_trial_says_why_until_somebody_fits() -> None:
    campaign = make_campaign(minimum_level="L3")
    order = queued(campaign)
    number = order.trial.number
    services.explain_waits(campaign)
    assert phases(campaign, [number]) == {number: ("waits: no evaluator is running", None)}
    found = capability("cpu")
    workers.announce(found)
    Worker.objects.update(level="L2")
    services.explain_waits(campaign)
    assert phases(campaign, [number])[number][0] == f"waits: {found.name} reaches L2, the campaign wants L3"
    Worker.objects.update(level="L3")
    services.explain_waits(campaign)
    assert phases(campaign, [number]) == {}


@pytest.mark.django_db
def test_a_process_that_does_not_fit_leaves_the_trial_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE, "L2")
    order = queued(make_campaign(minimum_level="L3"))
    assert services.evaluate(order.pk) is None
    order.refresh_from_db()
    assert (order.state, order.attempt) == ("queued", 0)
    assert "reaches L2, the campaign wants L3" in order.fault and FORCE in order.fault
