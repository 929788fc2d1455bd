"""Measuring speed at an accuracy gate: cold recipe processes, each with a reference, watched from here.

By the clock ``cpu`` the score is CPU time of whole process trees, read from outside and divided by that of reference
work on the same core in the same seconds. By the clock ``wall`` it is wall-clock time, divided by that of a reference
process that had the device just before or after. Accuracy is counted here, from labels that no process has ever had.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from evaluators.child.frames import pack_files
from evaluators.contract import HarnessFault, Measurement, Profile, Progress
from evaluators.harness import cold_process
from evaluators.harness.cold_process import Beside, Order, Predictions, Ran, alone
from evaluators.harness.gate import Rules, score
from evaluators.harness.identity import fingerprint
from evaluators.harness.order import count_code
from evaluators.harness.pace import Pace
from evaluators.harness.verdicts import Verdict
from evaluators.sandbox import Isolation, SandboxUnavailable
from trials.vocab import Label

SEEDS = 2**32
#: References of one trial that differ by more than this did not have the device for themselves.
CALM_SPREAD = 0.1


@dataclass(frozen=True)
class Labelled:
    """images: uint8 (N, H, W, C); labels: int64 (N,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What a recipe is measured on. ``train`` is handed to it; of ``held_out`` it gets the images, late and shuffled.

    reference: sources of the workload that a recipe's time is divided by; the evaluator's own. By the clock ``cpu`` it
    is ``begin(ctx) -> step``, by ``wall`` it has a recipe's two functions.
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
    company: Isolation,
    report: Callable[[Progress], None],
) -> Measurement:
    """Run the profile's number of cold processes. Anything that a recipe does ends as a Measurement with a status.

    company: isolation of a reference beside them, which may start warm. Raises HarnessFault for faults of the evaluator
    or its host, and what ``report`` raises (Cancelled).
    """
    trial = _Trial(task, profile, source, seed, isolation, company, report)
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
        company: Isolation,
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
        self.beside = replace(self.order, isolation=company)
        self.labels = task.held_out.labels
        self.source, self.reference = pack_files(source), pack_files(task.reference)
        # Measurements with different seeds share no process's seed.
        self.seeds = [(seed * self.rules.processes + i) % SEEDS for i in range(self.rules.processes)]
        self.record = _Record(code_bytes=count_code(source))
        self.load = os.getloadavg()[0]
        self.record.numbers["load_average"] = round(self.load, 2)
        self.correct = self.started = self.done = 0
        self.wall = 0.0
        self.mine: list[float] = []
        self.theirs: list[float] = []
        self.cold: list[float] = []

    def run(self) -> float:
        """The score in seconds. Raises Verdict."""
        if self.rules.clock == "cpu":
            self._with_company()
        else:
            self._in_turns()
        found = score(self.mine, self.theirs, self.rules.reference_seconds)
        self.record.secondary |= {
            "accuracy": self.correct / (len(self.mine) * len(self.labels)),
            "standard_error": round(found.error, 4),
            "fastest_seed": round(found.smallest, 4),
            f"mean_{self.rules.clock}_seconds": round(statistics.fmean(self.mine), 3),
            f"mean_reference_{self.rules.clock}_seconds": round(statistics.fmean(self.theirs), 6),
        }
        return found.seconds

    def _with_company(self) -> None:
        """Each recipe process beside steps of one reference process, on a core that the two share."""
        limits = self.order.limits
        each = cold_process.START_SECONDS + limits.train_seconds + limits.eval_seconds + cold_process.END_SECONDS
        longest = self.rules.processes * each
        with Pace(self.beside, self.reference, longest) as pace:
            try:
                for seed in self.seeds:
                    cpu = self._recipe(seed, pace.beside)[1]
                    self.record.numbers[f"reference_step_seed_{seed}"] = round(pace.step_seconds(), 9)
                    self._pair(cpu, pace.step_seconds())
            finally:
                self.record.cpu_seconds["reference"] = round(pace.cpu_seconds(), 3)

    def _in_turns(self) -> None:
        """Each recipe process next to a reference process, alone on the device."""
        for index, seed in enumerate(self.seeds):
            # Who is first changes, so that a machine that grows busier or calmer favours neither.
            if index % 2:
                theirs = self._reference(seed)
                mine = self._recipe(seed)[0]
            else:
                mine = self._recipe(seed)[0]
                theirs = self._reference(seed)
            self._pair(mine, theirs)
        spread = max(self.theirs) / min(self.theirs) - 1
        busy = max(self.load, os.getloadavg()[0]) > (os.cpu_count() or 1)
        self.record.numbers |= {"reference_spread": round(spread, 4), "contended": int(busy or spread > CALM_SPREAD)}
        self.record.secondary["mean_cold_seconds"] = round(statistics.fmean(self.cold), 3)

    def _pair(self, mine: float, theirs: float) -> None:
        self.mine.append(mine)
        self.theirs.append(theirs)

    def _recipe(self, seed: int, beside: Beside = alone) -> tuple[float, float]:
        """Wall and CPU seconds of one recipe process; and whether the gate can still be reached. Raises Verdict."""
        predictions, ran = self._process(self.source, seed, f"seed_{seed}", "recipe", beside)
        self.cold.append(ran.start[0] + ran.whole[0])
        self.wall += ran.whole[0]
        over = self.wall - self.rules.trial_seconds
        if over > 0:
            reason = f"wall clock of all processes: {self.wall:.1f} s of {self.rules.trial_seconds:g} s"
            raise Verdict(Label.TRAIN_BUDGET_OVERRUN, reason, {"seconds": self.wall, "seconds_over": round(over, 3)})
        correct = int((predictions.argmax(axis=1) == self.labels).sum())
        self.done += 1
        self.correct += correct
        images = len(self.labels)
        self.record.numbers |= {
            f"correct_seed_{seed}": correct,
            "correct": self.correct,
            "scored": self.done * images,
            "accuracy": round(self.correct / (self.done * images), 6),
        }
        if not self.rules.in_reach(self.correct, self.done, images):
            reason, numbers = self.rules.missed(self.correct, self.done * images)
            if self.done < self.rules.processes:
                reason += f" after {self.done} of {self.rules.processes} processes, out of reach for the rest"
            raise Verdict(Label.DISQUALIFIED, reason, numbers)
        return ran.whole

    def _reference(self, seed: int) -> float:
        """Wall seconds of one reference process. Raises HarnessFault when it fails: its code is ours."""
        log = self.record.log
        try:
            _, ran = self._process(self.reference, seed, f"reference_{seed}", "reference", alone)
        except Verdict as verdict:
            raise HarnessFault(f"the reference process failed: {verdict}") from verdict
        self.record.log = log
        return ran.whole[0]

    def _process(self, source: bytes, seed: int, name: str, phase: str, beside: Beside) -> tuple[Predictions, Ran]:
        """Predictions and cost of one cold process, booked whether it fails or not."""
        ran, started = Ran(), self.started
        self.started += 1
        every = self.rules.processes * (1 if self.rules.clock == "cpu" else 2)
        told = 0.0

        def watch() -> None:
            nonlocal told
            if time.monotonic() - told >= 0.25:
                told = time.monotonic()
                self._report(Progress(phase, started / every, f"process {name}"))

        watch()
        try:
            return cold_process.run(self.order, source, seed, watch, ran, beside), ran
        finally:
            self.record.log = ran.log
            self.record.book("start", *ran.start)
            self.record.book(name, *ran.whole)
            if phase == "recipe":
                self.record.book("train", *ran.train)
