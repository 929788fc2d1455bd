"""Who may measure what, and what people are told when nobody may."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from evaluators.environments.parameter_golf.spec import CPU
from evaluators.fit import GIB, Needs, misfit, needs_of, why_waiting
from trials.services.workers import Capability

WORKER = Capability("a:1", "cpu", "a processor", 1, 24 * GIB, "L3")
NEEDS = Needs("cpu", 1, 4 * GIB, "L2")


def test_needs_come_from_the_frozen_profile() -> None:
    assert needs_of(asdict(CPU), "L3") == Needs("cpu", 1, CPU.limits.memory_bytes, "L3")
    gpu = asdict(replace(CPU, device="cuda", devices=8, device_memory_bytes=80 * GIB))
    assert needs_of(gpu, "L2") == Needs("cuda", 8, 80 * GIB, "L2")
    before = {name: value for name, value in asdict(CPU).items() if name not in ("devices", "device_memory_bytes")}
    assert needs_of(before, "L2").devices == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"device": "cuda"}, "a:1 has cuda, cpu is needed"),
        ({"devices": 0}, "a:1 has 0 x cpu, 1 are needed"),
        ({"memory_bytes": 3 * GIB}, "a:1 has 3.0 GiB of memory, 4.0 GiB are needed"),
        ({"level": "L1"}, "a:1 reaches L1, the campaign wants L2"),
        ({"level": ""}, "a:1 reaches no isolation level, the campaign wants L2"),
    ],
)
def test_a_misfit_is_told_in_numbers(change: dict[str, object], reason: str) -> None:
    assert misfit(replace(WORKER, **change), NEEDS) == reason  # type: ignore[arg-type]


def test_a_wait_has_a_reason_unless_somebody_fits() -> None:
    weak, small = replace(WORKER, name="b:2", level="L1"), replace(WORKER, name="c:3", memory_bytes=0)
    assert why_waiting([], NEEDS) == "no evaluator is running"
    assert why_waiting([weak, WORKER], NEEDS) == ""
    assert why_waiting([WORKER], replace(NEEDS, device="cuda")) == "no evaluator for cuda is running"
    both = why_waiting([weak, small], NEEDS)
    assert "b:2 reaches L1" in both and "c:3 has 0.0 GiB" in both
