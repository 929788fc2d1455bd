"""A script that torchrun starts: its processes meet on a loopback of their own, or nothing is started."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from evaluators import preflight
from evaluators.contract import HarnessFault, Measurement
from evaluators.environments.script import Script
from evaluators.environments.script.definition import DefinitionError, load
from evaluators.fit import misfit, needs_of
from evaluators.sandbox.reach import FORCE
from trials.services.workers import Capability
from trials.vocab import VALID

TORCHRUN = load(Path(__file__).resolve().parent / "scripts/ddp_line.toml")
START = preflight.read_recipe(TORCHRUN.spec)
CPU = TORCHRUN.spec.profiles["cpu"]


def measured(environment: Script) -> Measurement:
    return environment.measure(START, profile=CPU, seed=0, split="validation", level="L3", report=lambda progress: None)


def test_torchrun_starts_two_processes_that_train_together() -> None:
    script = Script(TORCHRUN)
    found = measured(script)
    outcome = script.judge(found, CPU)
    assert outcome.label == VALID, found.log.decode()
    assert found.score is not None and 0 <= found.score < 1e-4
    assert "world_size: 2" in found.log.decode()
    assert found.isolation["level"] == "L3" and found.isolation["loopback"] is True
    assert found.isolation["details"]["network"] == "own namespace, its loopback only"  # type: ignore[index]


def test_below_l3_nothing_is_started_and_one_error_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE, "L2")
    with pytest.raises(HarnessFault, match=r"ddp_line.toml: no sandbox with a loopback .* it would be the host's"):
        measured(Script(TORCHRUN))


def test_a_worker_that_reaches_l2_only_does_not_take_it() -> None:
    worker = Capability("a:1", "cpu", "a processor", 1, 64 << 30, "L2")
    assert misfit(worker, needs_of(asdict(CPU), "L2")) == "a:1 reaches L2, the campaign wants L3"
    assert misfit(worker, needs_of(asdict(replace(CPU, settings={})), "L2")) == ""


def test_the_key_is_true_or_false(tmp_path: Path) -> None:
    (tmp_path / "ddp_line").symlink_to(TORCHRUN.spec.recipe_dir)
    bad = tmp_path / "ddp_line.toml"
    bad.write_text(TORCHRUN.file.read_text().replace("loopback = true", 'loopback = "yes"'))
    with pytest.raises(DefinitionError, match=r"profiles.cpu.loopback: it is 'yes', expected true or false"):
        load(bad)
