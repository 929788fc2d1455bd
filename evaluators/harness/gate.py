"""The arithmetic of speed at an accuracy gate. Pure: counts and seconds in, a score or a shortfall out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from evaluators.contract import Profile

CLOCKS = ("cpu", "wall")


@dataclass(frozen=True)
class Rules:
    """What only speed needs of a profile's settings.

    clock: ``cpu``, CPU seconds of a process tree, beside reference steps on its core; ``wall``, seconds on a device
    that nothing else uses, next to a reference process. gate: least mean accuracy. processes: cold ones of a trial.
    reference_seconds: what the reference, a step or a process, takes by definition, so that scores are seconds.
    train_cpu_seconds, eval_cpu_seconds: most CPU seconds of one process until it has trained, and from then on.
    process_seconds, trial_seconds: most wall-clock seconds of one recipe process, and of all together.
    floor_seconds: a score below this is not believed.
    """

    clock: str
    gate: Fraction
    processes: int
    reference_seconds: float
    train_cpu_seconds: float
    eval_cpu_seconds: float
    process_seconds: float
    trial_seconds: float
    floor_seconds: float

    @classmethod
    def of(cls, profile: Profile) -> Rules:
        """Raises KeyError for a setting that is missing, ValueError for a clock that does not exist."""
        said = {name: str(value) for name, value in profile.settings.items()}
        if said["clock"] not in CLOCKS:
            raise ValueError(f"clock {said['clock']!r} is unknown, expected one of {', '.join(CLOCKS)}")
        longest = profile.limits.train_seconds + profile.limits.eval_seconds
        return cls(
            clock=said["clock"],
            gate=Fraction(said["gate"]),
            processes=int(said["processes"]),
            reference_seconds=float(said["reference_seconds"]),
            train_cpu_seconds=float(said["train_cpu_seconds"]),
            eval_cpu_seconds=float(said["eval_cpu_seconds"]),
            process_seconds=float(said.get("process_seconds", longest)),
            trial_seconds=float(said.get("trial_seconds", int(said["processes"]) * longest)),
            floor_seconds=float(said["floor_seconds"]),
        )

    def shortfall(self, correct: int, scored: int) -> Fraction:
        """How far the mean accuracy is below the gate, exactly; zero or less when the gate is reached."""
        return self.gate - Fraction(correct, scored)

    def in_reach(self, correct: int, done: int, images: int) -> bool:
        """Whether faultless further processes could still lift the mean to the gate.

        correct: over the ``done`` processes so far, each of which was asked for ``images`` predictions.
        """
        best = correct + (self.processes - done) * images
        return self.shortfall(best, self.processes * images) <= 0

    def missed(self, correct: int, scored: int) -> tuple[str, dict[str, float | int]]:
        """Why a trial below the gate is disqualified, and the exact figures."""
        deficit, gate = float(self.shortfall(correct, scored)), float(self.gate)
        numbers = {"accuracy": round(correct / scored, 6), "gate": gate, "deficit": round(deficit, 6)}
        return f"{deficit:.5f} below the gate of {gate:g}", numbers


@dataclass(frozen=True)
class Score:
    """seconds: mean ratio to the reference x its seconds. error: standard error of that mean; 0 for one process."""

    seconds: float
    error: float
    smallest: float


def score(recipe: Sequence[float], reference: Sequence[float], reference_seconds: float) -> Score:
    """Seconds of each recipe process and of the reference beside or next to it, pair by pair -> seconds of a machine on
    which the reference takes ``reference_seconds``. Raises ValueError for a pair that took no time or lists of
    different lengths."""
    if any(seconds <= 0 for seconds in (*recipe, *reference)):
        raise ValueError("a process took no time")
    scaled = [reference_seconds * mine / theirs for mine, theirs in zip(recipe, reference, strict=True)]
    error = statistics.stdev(scaled) / math.sqrt(len(scaled)) if len(scaled) > 1 else 0.0
    return Score(statistics.fmean(scaled), error, min(scaled))
