"""One trial per accelerator: what is there, who holds it, what waits, and on what a score was measured."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from evaluators import devices, registry, services
from evaluators.announce import Announcer, capability, worker_name
from evaluators.contract import Measurement, Outcome, Profile
from evaluators.devices import Unavailable, accelerators, held, hold
from evaluators.harness import identity
from tests.evaluators.commands import Done, manage
from tests.evaluators.golf import GOLF, SMOKE, START
from tests.evaluators.nvidia import H200, T4, holder, install, lines
from tests.factories import SPEC, finish, make_campaign, order_of, record, start, submit
from trials.analytics import phases
from trials.models import Campaign, Evaluation, Event
from trials.services import leases, outcomes, submissions, workers
from trials.vocab import VALID, EventKind, Purpose
from trials.worker_models import Worker

CUDA: dict[str, Any] = {**SPEC, "profile": {**SPEC["profile"], "device": "cuda"}}
GIB = 1 << 30


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with two accelerators."""
    install(tmp_path, monkeypatch, lines(H200, T4))
    return tmp_path


def test_the_list_of_the_driver_is_read(two: Path) -> None:
    first, second = accelerators()
    assert (first.index, first.name, first.driver) == (0, "NVIDIA H200", "570.86.15")
    assert first.memory_bytes == 143771 << 20
    assert (second.uuid, str(second)) == ("GPU-5e1f9a3c-0000-4444-8888-000000000001", "1 (Tesla T4)")
    (two / "listing").write_text("0, NVIDIA GB10, [N/A], 580.95.05, GPU-aa\n\n")
    assert accelerators()[0].memory_bytes == 0
    with pytest.raises(ValueError, match="'tpu' is no accelerator"):
        accelerators("tpu")


@pytest.mark.parametrize(
    ("chosen", "indices"),
    [
        ("1", [1]),
        ("1,0", [1, 0]),
        ("GPU-5e1f9a3c-0000-4444-8888-000000000001", [1]),
        ("0,7,1", [0]),
        (" 0 , 1 ", [0, 1]),
    ],
)
def test_the_worker_sees_what_its_environment_shows(
    two: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, indices: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [one.index for one in accelerators()] == indices


@pytest.mark.parametrize("chosen", ["", "-1", "NoDevFiles", "GPU-5e1f", "MIG-1"])
def test_an_environment_that_shows_none(two: Path, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    with pytest.raises(
        Unavailable, match=f"^no accelerator on this host: CUDA_VISIBLE_DEVICES={chosen} shows none of 2$"
    ):
        accelerators()


def test_a_host_without_any_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"nvidia-smi cannot be run \(No such file or directory\)"):
        accelerators()
    monkeypatch.setenv("PATH", path)
    install(tmp_path, monkeypatch, "NVIDIA-SMI has failed because\nit could not talk to the driver.\n", ends=9)
    with pytest.raises(Unavailable, match="nvidia-smi ends with 9: NVIDIA-SMI has failed because it could not talk"):
        accelerators()
    install(tmp_path, monkeypatch, "index, name\n")
    with pytest.raises(Unavailable, match="nvidia-smi lists 'index, name', expected index, name, memory"):
        accelerators()
    install(tmp_path, monkeypatch, "")
    with pytest.raises(Unavailable, match="nvidia-smi lists none"):
        accelerators()
    install(tmp_path, monkeypatch, lines(H200), first="exec sleep 60")
    monkeypatch.setattr(devices, "LOOK_SECONDS", 0.2)
    with pytest.raises(Unavailable, match=r"nvidia-smi hangs for 0\.2 s"):
        accelerators()


def test_a_cpu_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with hold("cpu", 8) as chosen:
        assert chosen == held() == ()


def test_each_accelerator_is_held_once(two: Path) -> None:
    with hold("cuda", 1) as (first,):
        assert (first.index, held()) == (0, (first,))
        with hold("cuda", 1) as (second,):
            assert (second.index, held()) == (1, (second,))
            said = r"^accelerators are busy: 0 \(NVIDIA H200\), 1 \(Tesla T4\); 1 needed, 0 of 2 free$"
            with pytest.raises(Unavailable, match=said), hold("cuda", 1):
                raise AssertionError("a third trial on two accelerators")
        with pytest.raises(Unavailable, match="; 2 needed, 1 of 2 free"), hold("cuda", 2):
            raise AssertionError("two where one is held")
        with hold("cuda", 1) as (again,):  # what could not be had was given back
            assert again == second
    assert held() == ()
    with hold("cuda", 2) as both:
        assert [one.index for one in both] == [0, 1]
    with pytest.raises(Unavailable, match="3 accelerators are needed, this worker may use 2"), hold("cuda", 3):
        raise AssertionError("three of two")


def test_locks_that_cannot_be_made_are_an_error(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (two / "autoresearch-GPU-5e1f9a3c-0000-4444-8888-000000000000.lock").symlink_to("/etc/passwd")
    with (
        pytest.raises(Unavailable, match=r"0000\.lock cannot be locked \(.*\), expected a plain file"),
        hold("cuda", 1),
    ):
        raise AssertionError("locked through a link")
    monkeypatch.setenv(devices.LOCKS, str(two / "nothing"))
    with pytest.raises(Unavailable, match="nothing is not a folder, expected one for the locks"), hold("cuda", 1):
        raise AssertionError("locked nowhere")


def test_two_workers_share_the_host_and_a_killed_one_lets_go(two: Path) -> None:
    first, heard = holder(1)
    assert heard.recv() == [0]
    second, asked = holder(2)
    assert asked.recv() == "accelerators are busy: 0 (NVIDIA H200); 2 needed, 1 of 2 free"
    second.join(20)
    os.kill(first.pid, signal.SIGKILL)
    first.join(20)
    with hold("cuda", 2) as both:
        assert len(both) == 2


def test_a_worker_announces_its_accelerators(two: Path) -> None:
    found = capability("cuda")
    assert (found.device, found.devices, found.memory_bytes) == ("cuda", 2, 15360 << 20)
    assert found.device_name == "NVIDIA H200, Tesla T4"
    assert found.details["machine"]["driver"] == "570.86.15"
    assert [one["index"] for one in found.details["accelerators"]] == [0, 1]
    assert "driver" not in capability("cpu").details["machine"]


@pytest.mark.django_db(transaction=True)
def test_a_host_without_accelerators_announces_no_worker_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, monkeypatch, "No devices were found\n", ends=6)
    announcer = Announcer("cuda")
    with caplog.at_level(logging.INFO):
        announcer.start()
        announcer._thread.join(30)
    (line,) = caplog.messages
    assert line == (
        f"worker {worker_name()} does not announce itself for cuda: no accelerator on this host: "
        "nvidia-smi ends with 6: No devices were found"
    )
    assert caplog.records[0].exc_info is None
    assert not Worker.objects.exists()


def test_the_fingerprint_names_what_is_held(two: Path) -> None:
    host = identity.fingerprint()
    assert "device" not in host
    with hold("cuda", 1):
        assert identity.fingerprint() == host | {
            "device": "NVIDIA H200",
            "devices": 1,
            "driver": "570.86.15",
            "device_memory_bytes": 143771 << 20,
        }
    assert identity.fingerprint() == host


class Stub:
    """An environment whose measurement only tells what it ran on."""

    spec = replace(GOLF.spec, name="stub", profiles={"cpu": replace(SMOKE, name="cpu", device="cuda")})

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def measure(self, source: object, *, profile: Profile, seed: int, split: str, **_: object) -> Measurement:
        self.seen.append([one.index for one in held()])
        return Measurement("ok", "", seed, split, 1.0, fingerprint=identity.fingerprint())

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        return Outcome(VALID, "", measurement.score, {})

    def prepare(self, profile: Profile) -> dict[str, object]:
        return {"ready": True}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub()
    monkeypatch.setitem(registry.ENVIRONMENTS, "stub", made)
    return made


def test_a_recipe_judged_by_hand_holds_its_accelerator(stub: Stub, two: Path) -> None:
    def judged() -> Done:
        return manage("evaluate", "stub", GOLF.spec.recipe_dir, "--json")

    assert judged().json["measurements"][0]["fingerprint"]["device"] == "NVIDIA H200"
    with hold("cuda", 2):
        said = "accelerators are busy: 0 (NVIDIA H200), 1 (Tesla T4); 1 needed, 0 of 2 free"
        assert judged().refused() == said
    (two / "listing").write_text("")
    assert judged().refused() == "no accelerator on this host: nvidia-smi lists none"
    assert stub.seen == [[0]]


def tick(campaign: Campaign, pk: int) -> list[int]:
    """What the beat does for a campaign's waiting orders a minute later; the orders that it sends again."""
    Evaluation.objects.filter(pk=pk).update(queued_at=timezone.now() - timedelta(minutes=1))
    sent = leases.take_unsent(campaign.pk, timedelta(seconds=60))
    services.explain_waits(campaign)
    return sent


@pytest.mark.django_db
def test_a_trial_waits_for_an_accelerator_and_says_so(stub: Stub, two: Path) -> None:
    campaign = make_campaign(environment="stub", spec=CUDA)
    order = submit(campaign, parent=None, files=START).evaluations.get()
    workers.announce(capability("cuda"))
    assert tick(campaign, order.pk) == []
    with hold("cuda", 2):
        assert services.evaluate(order.pk) is None
        order.refresh_from_db()
        assert (order.state, order.attempt) == ("queued", 0)
        said = "waits: accelerators are busy: 0 (NVIDIA H200), 1 (Tesla T4); 1 needed, 0 of 2 free"
        assert phases(campaign, [0]) == {0: (said, None)}
        assert tick(campaign, order.pk) == [order.pk]
        assert phases(campaign, [0]) == {0: (said, None)}, "the tick took the reason away"
    assert services.evaluate(order.pk) == campaign.pk
    order.refresh_from_db()
    assert (order.state, order.fault, stub.seen) == ("measured", "", [[0]])
    with hold("cuda", 2):  # the measurement has let go
        assert order.measurement.record["fingerprint"]["devices"] == 1


@pytest.mark.django_db
def test_a_worker_whose_accelerators_are_gone_leaves_the_trial_alone(stub: Stub, two: Path) -> None:
    order = submit(make_campaign(environment="stub", spec=CUDA), parent=None, files=START).evaluations.get()
    (two / "listing").write_text("")
    assert services.evaluate(order.pk) is None
    order.refresh_from_db()
    assert (order.state, order.fault) == (
        "queued",
        f"{worker_name()}: no accelerator on this host: nvidia-smi lists none",
    )


@pytest.mark.django_db
def test_a_score_from_another_machine_says_so(admin_client: Client) -> None:
    campaign = make_campaign()
    here = {"cpu": "one", "torch": "2", "device": "NVIDIA H200"}
    finish(start(submit(campaign, parent=None)), 2.0, fingerprint=here)
    same = finish(start(submit(campaign)), 1.9, fingerprint=here)
    assert (same.label, same.reason, same.numbers) == ("keep", "", {})
    other = finish(start(submit(campaign)), 1.8, fingerprint={"cpu": "two", "torch": "2"})
    differs = "cpu two instead of one; device none instead of NVIDIA H200"
    assert other.label == "keep"
    assert other.reason == f"measured on another machine than the baseline: {differs}"
    assert other.numbers == {"other_machine": differs}
    event = Event.objects.filter(trial=other).last()
    assert event is not None and event.payload["numbers"] == {"other_machine": differs}
    page = admin_client.get(other.get_absolute_url()).content.decode()
    assert f"baseline: {differs}</p>" in page and f">{differs}</dd>" in page, "as the reason and among the numbers"
    failed = finish(start(submit(campaign)), None, "crash", fingerprint={"cpu": "two"}, reason="memory")
    assert (failed.reason, failed.numbers) == ("memory", {})

    submissions.order_sealed(campaign.pk, reason="enough", actor="test", enqueue=lambda _: None)
    for trial, fingerprint, said in ((campaign.trials.get(number=0), here, None), (other, {"cpu": "two"}, "cpu two")):
        evaluation = leases.claim_evaluation(order_of(trial, Purpose.SEALED).pk, "host:1")
        assert evaluation is not None
        leases.post_measurement(evaluation.pk, evaluation.attempt, record(1.7, fingerprint=fingerprint), b"")
        assert outcomes.record_sealed(evaluation.pk)
        told = Event.objects.filter(trial=trial, kind=EventKind.SEALED_MEASURED).get().payload.get("other_machine")
        assert told is None if said is None else told.startswith(said)
