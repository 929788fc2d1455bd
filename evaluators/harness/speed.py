"""Measuring speed at an accuracy gate: cold recipe processes, each beside a cold reference process, watched from here.

The score is CPU time of whole process trees, read from outside and divided by that of a reference workload which ran
just before or after. Accuracy is counted here, from labels that no recipe process has ever had.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluators.child.frames import pack_files
from evaluators.contract import HarnessFault, Measurement, Profile, Progress
from evaluators.harness import cold_process
from evaluators.harness.cold_process import Order, Predictions, Ran
from evaluators.harness.conversation import count_code
from evaluators.harness.gate import Rules, score
from evaluators.harness.identity import fingerprint
from evaluators.harness.verdicts import Verdict
from evaluators.sandbox import Isolation, SandboxUnavailable
from trials.vocab import Label

SEEDS = 2**32


@dataclass(frozen=True)
class Labelled:
    """images: uint8 (N, H, W, C); labels: int64 (N,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What a recipe is measured on. ``train`` is handed to it; of ``held_out`` it gets the images, late and shuffled.

    reference: sources of the workload that a recipe's time is divided by; the evaluator's own.
    """

    train: Labelled
    held_out: Labelled
    classes: int
    reference: Mapping[str, bytes]
    data_sha256: Mapping[str, str]
    evaluator_sha256: str


@dataclass
class _Record:
    """What is known so far about one measurement."""

    code_bytes: int
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, float | int | str] = field(default_factory=dict)
    secondary: dict[str, float] = field(default_factory=dict)
    log: bytes = b""

    def book(self, name: str, wall: float, cpu: float) -> None:
        """Add the seconds of a phase to those that it has."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + wall, 3)
        self.cpu_seconds[name] = round(self.cpu_seconds.get(name, 0.0) + cpu, 3)


def measure(
    task: Task,
    profile: Profile,
    source: Mapping[str, bytes],
    *,
    seed: int,
    split: str,
    isolation: Isolation,
    report: Callable[[Progress], None],
) -> Measurement:
    """Run the profile's number of cold processes. Anything that a recipe does ends as a Measurement with a status.

    Raises HarnessFault for faults of the evaluator or its host, and what ``report`` raises (Cancelled).
    """
    trial = _Trial(task, profile, source, seed, isolation, report)
    status, reason, excerpt, seconds = "ok", "", "", None
    try:
        seconds = trial.run()
    except Verdict as verdict:
        status, reason, excerpt = str(verdict.status), verdict.reason, verdict.excerpt
        trial.record.numbers.update(verdict.numbers)
    except SandboxUnavailable as error:
        raise HarnessFault(str(error)) from error
    trial.record.numbers["load_average_end"] = round(os.getloadavg()[0], 2)
    return Measurement(
        status=status,
        reason=reason,
        seed=seed,
        split=split,
        score=seconds,
        isolation=isolation.to_json(),
        fingerprint=fingerprint(),
        evaluator_sha256=task.evaluator_sha256,
        data_sha256=task.data_sha256,
        excerpt=excerpt,
        **vars(trial.record),
    )


class _Trial:
    """One measurement under way."""

    def __init__(
        self,
        task: Task,
        profile: Profile,
        source: Mapping[str, bytes],
        seed: int,
        isolation: Isolation,
        report: Callable[[Progress], None],
    ) -> None:
        self.rules, self._report = Rules.of(profile), report
        self.order = Order(
            images=cold_process.pack_images(task.train.images),
            labels=task.train.labels.astype("<i8").tobytes(),
            unlabelled=task.held_out.images,
            classes=task.classes,
            device=profile.device,
            limits=profile.limits,
            rules=self.rules,
            isolation=isolation,
        )
        self.labels = task.held_out.labels
        self.source, self.reference = pack_files(source), pack_files(task.reference)
        # Measurements with different seeds share no process's seed.
        self.seeds = [(seed * self.rules.processes + i) % SEEDS for i in range(self.rules.processes)]
        self.record = _Record(code_bytes=count_code(source))
        self.record.numbers["load_average"] = round(os.getloadavg()[0], 2)
        self.correct = self.started = 0
        self.mine: list[float] = []
        self.theirs: list[float] = []

    def run(self) -> float:
        """The score in seconds. Raises Verdict."""
        for index, seed in enumerate(self.seeds):
            # Who is first changes, so that a machine that grows busier or calmer favours neither.
            for step in (self._recipe, self._reference)[:: -1 if index % 2 else 1]:
                step(seed)
        found = score(self.mine, self.theirs, self.rules.reference_seconds)
        self.record.secondary |= {
            "accuracy": self.correct / (len(self.mine) * len(self.labels)),
            "standard_error": round(found.error, 4),
            "fastest_seed": round(found.smallest, 4),
            "mean_cpu_seconds": round(statistics.fmean(self.mine), 3),
            "mean_reference_cpu_seconds": round(statistics.fmean(self.theirs), 3),
        }
        return found.seconds

    def _recipe(self, seed: int) -> None:
        """One recipe process; and whether the gate can still be reached. Raises Verdict."""
        predictions, cpu = self._process(self.source, seed, f"seed_{seed}", "recipe")
        correct = int((predictions.argmax(axis=1) == self.labels).sum())
        self.mine.append(cpu)
        self.correct += correct
        done, images = len(self.mine), len(self.labels)
        self.record.numbers |= {
            f"correct_seed_{seed}": correct,
            "correct": self.correct,
            "scored": done * images,
            "accuracy": round(self.correct / (done * images), 6),
        }
        if not self.rules.in_reach(self.correct, done, images):
            reason, numbers = self.rules.missed(self.correct, done * images)
            if done < self.rules.processes:
                reason += f" after {done} of {self.rules.processes} processes, out of reach for the rest"
            raise Verdict(Label.DISQUALIFIED, reason, numbers)

    def _reference(self, seed: int) -> None:
        """One reference process. Raises HarnessFault when it fails: its code is ours."""
        log = self.record.log
        try:
            _, cpu = self._process(self.reference, seed, f"reference_{seed}", "reference")
        except Verdict as verdict:
            raise HarnessFault(f"the reference process failed: {verdict}") from verdict
        self.theirs.append(cpu)
        self.record.log = log

    def _process(self, source: bytes, seed: int, name: str, phase: str) -> tuple[Predictions, float]:
        """Predictions and CPU seconds of one cold process, booked whether it fails or not."""
        ran, done, self.started = Ran(), self.started, self.started + 1
        told = 0.0

        def watch() -> None:
            nonlocal told
            if time.monotonic() - told >= 0.25:
                told = time.monotonic()
                self._report(Progress(phase, done / (2 * self.rules.processes), f"process {name}"))

        watch()
        try:
            return cold_process.run(self.order, source, seed, watch, ran), ran.whole[1]
        finally:
            self.record.log = ran.log
            self.record.book("start", *ran.start)
            self.record.book(name, *ran.whole)
            if phase == "recipe":
                self.record.book("train", *ran.train)
