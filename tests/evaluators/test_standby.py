"""The next sandbox of a trial is started while another works, where that costs nobody anything."""

from __future__ import annotations

import lzma

import pytest

from evaluators.child.frames import pack_files
from evaluators.harness.order import count_code
from evaluators.harness.standby import Standby
from evaluators.sandbox import Bounds, reach
from evaluators.sandbox.warm import warm_server
from tests.evaluators.sandbox_driver import of_sandbox

BOUNDS = Bounds(wall_seconds=60, cpu_seconds=60, memory_bytes=2 << 30, scratch_bytes=8 << 20)


def test_the_one_that_waits_is_handed_out_and_the_one_before_is_dead() -> None:
    standby = Standby(reach(start="warm"), BOUNDS)
    first = standby.take()
    standby.prepare()
    standby.prepare()
    standby.leave(first)
    second = standby.take()
    assert second.pid != first.pid
    assert (second.poll(), bool(second.walls)) == (None, True)
    standby.prepare()
    standby.leave(second)
    standby.close()
    assert first.poll() is not None
    assert second.poll() is not None
    assert {first.pid, second.pid}.isdisjoint(of_sandbox('"worker"'))


def test_a_cold_one_starts_when_it_is_taken() -> None:
    isolation = reach(start="cold")
    standby = Standby(isolation, BOUNDS)
    before = warm_server().pid
    standby.prepare()
    confined = standby.take()
    assert confined.walls["backend"] == isolation.backend
    standby.leave(confined)
    standby.close()
    assert confined.poll() is not None
    assert warm_server().pid == before


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 70_000])
def test_code_costs_what_the_preset_packs_it_to(size: int) -> None:
    source = {"recipe.py": b"x = 1\n", "other.py": bytes(range(256)) * (size // 256) + b"#" * (size % 256)}
    assert count_code(source) == len(lzma.compress(pack_files(source), lzma.FORMAT_ALONE, preset=9))
