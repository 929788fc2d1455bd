"""The full-size profiles on a processor, with a few made-up images in CIFAR-10's own files: a measurement's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from evaluators.contract import Measurement, Profile, Progress
from evaluators.environments.cifar_airbench96 import CifarAirbench96, cifar10
from evaluators.harness.gate import Rules
from evaluators.preflight import read_folder
from tests.evaluators.cifar10_files import write_pickles, write_records
from trials.vocab import VALID, Label

AIRBENCH = CifarAirbench96()
GPU, PAPER = (AIRBENCH.spec.profiles[name] for name in ("gpu", "paper"))
START = read_folder(AIRBENCH.spec, AIRBENCH.spec.recipe_dir.parent / "recipe_gpu")
IMAGES = 10


def small(profile: Profile, **settings: object) -> Profile:
    """The profile on a processor, with so few images that nothing can be learnt, and no gate."""
    sizes = {"images_per_file": IMAGES, "train_images": IMAGES, "held_out_images": IMAGES}
    limits = replace(profile.limits, memory_bytes=4 << 30)
    chosen = {**profile.settings, **sizes, "gate": 0, "processes": 1, "floor_seconds": 0, **settings}
    return replace(profile, device="cpu", limits=limits, settings=chosen)


def narrow() -> Mapping[str, bytes]:
    """The start with a thin network and four epochs."""
    source = dict(START)
    for name, old, new in (
        ("architecture.py", "(128, 384, 512)", "(8, 8, 16)"),
        ("optimization.py", "EPOCHS: float = 40.0", "EPOCHS: float = 4.0"),
    ):
        text = source[name].decode()
        assert text.count(old) == 1
        source[name] = text.replace(old, new).encode()
    return source


def measured(profile: Profile, split: str = "validation") -> Measurement:
    def report(progress: Progress) -> None:
        assert 0.0 <= progress.fraction <= 1.0

    return AIRBENCH.measure(narrow(), profile=profile, seed=3, split=split, level="L3", report=report)


@pytest.mark.parametrize(
    ("named", "write", "split"), [(GPU, write_pickles, "validation"), (PAPER, write_records, "sealed")]
)
def test_a_trial_is_timed_by_the_wall_next_to_a_reference(
    named: Profile,
    write: Callable[[Path, int], Path],
    split: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path))
    write(tmp_path, IMAGES)
    profile = small(named)
    found = measured(profile, split)
    outcome = AIRBENCH.judge(found, profile)
    assert (outcome.label, outcome.reason) == (VALID, ""), found.excerpt
    mine, theirs = found.seconds["seed_3"], found.seconds["reference_3"]
    assert (
        outcome.score == found.score == pytest.approx(profile.settings["reference_seconds"] * mine / theirs, rel=0.01)
    )
    assert found.secondary["mean_cold_seconds"] > found.secondary["mean_wall_seconds"] == mine
    assert found.numbers["scored"] == IMAGES and found.numbers["reference_spread"] == 0
    assert found.numbers["contended"] in (0, 1) and "load_average" in found.numbers
    assert set(found.data_sha256) == set(cifar10.FILES)


def test_all_processes_together_have_a_cap_of_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path))
    write_records(tmp_path, IMAGES)
    found = measured(small(PAPER, trial_seconds=0.01))
    assert (found.status, found.score) == (Label.TRAIN_BUDGET_OVERRUN, None)
    assert found.numbers["seconds_over"] == pytest.approx(found.seconds["seed_3"] - 0.01, abs=0.002)


def test_the_judge_tells_exact_figures_of_gate_and_seconds() -> None:
    seeds = {f"seed_{seed}": 30.0 for seed in range(10)}
    good = Measurement(
        "ok",
        "",
        0,
        "validation",
        score=30.0,
        numbers={"correct": 96_000, "scored": 100_000},
        seconds=seeds,
        cpu_seconds=seeds,
    )
    assert AIRBENCH.judge(good, PAPER).label == VALID
    below = AIRBENCH.judge(replace(good, numbers={"correct": 95_956, "scored": 100_000}), PAPER)
    assert (below.label, below.reason) == (Label.DISQUALIFIED, "0.00044 below the gate of 0.96")
    slow = AIRBENCH.judge(replace(good, seconds={**seeds, "seed_4": 601.25}), PAPER)
    assert (slow.label, slow.reason) == (Label.TRAIN_BUDGET_OVERRUN, "wall clock of a process: 601.2 s of 600 s")
    assert slow.numbers["seconds_over"] == 1.25
    long = AIRBENCH.judge(replace(good, seconds=dict.fromkeys(seeds, 250.5)), PAPER)
    assert (long.label, long.numbers["seconds_over"]) == (Label.TRAIN_BUDGET_OVERRUN, 105.0)
    fast = AIRBENCH.judge(replace(good, score=6.7), PAPER)
    assert (fast.label, fast.numbers["floor"]) == (Label.INVALID_RESULT, 6.8)


def test_the_paper_profile_is_the_papers() -> None:
    rules = Rules.of(PAPER)
    assert (float(rules.gate), rules.processes, rules.process_seconds, rules.trial_seconds) == (0.96, 10, 600.0, 2400.0)
    assert (PAPER.device, PAPER.devices, rules.clock) == ("cuda", 1, "wall")
    with pytest.raises(ValueError, match="expected one of cpu, wall"):
        Rules.of(replace(PAPER, settings={**PAPER.settings, "clock": "sun"}))


def test_prepare_tells_what_is_missing_where_and_in_which_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(cifar10.FOLDER, raising=False)
    found = AIRBENCH.prepare(PAPER)
    assert found["ready"] is False and cifar10.FOLDER in str(found["looked_for"])
    for part in ("cifar-10-batches-bin/", "data_batch_5.bin", "30,730,000 bytes", "cifar-10-batches-py/", "b'labels'"):
        assert part in str(found["expected"])
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path))
    folder = write_records(tmp_path, IMAGES)
    found = AIRBENCH.prepare(GPU)
    wanted = "30,730 bytes, expected 30,730,000 (10,000 records of 1 + 3,072 bytes)"
    assert found["missing"] == [f"{folder}/{name}.bin: {wanted}" for name in cifar10.FILES]
    found = AIRBENCH.prepare(small(GPU))
    assert (found["ready"], found["missing"], found["kept_in"]) == (True, [], str(folder))
    assert found["used"] == {"train": IMAGES, "validation": IMAGES, "sealed": IMAGES}
    assert found["shared_with_train"] == {"validation": 0, "sealed": 0}
