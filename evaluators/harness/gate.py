"""The arithmetic of speed at an accuracy gate. Pure: counts and seconds in, a score or a shortfall out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from evaluators.contract import Profile


@dataclass(frozen=True)
class Rules:
    """What only speed needs of a profile's settings.

    gate: least mean accuracy. processes: cold processes of a trial. reference_seconds: CPU seconds that the reference
    process takes by definition, so that scores are seconds. train_cpu_seconds, eval_cpu_seconds: most CPU seconds of
    one process until it has trained, and from then on. floor_seconds: a score below this is not believed.
    """

    gate: Fraction
    processes: int
    reference_seconds: float
    train_cpu_seconds: float
    eval_cpu_seconds: float
    floor_seconds: float

    @classmethod
    def of(cls, profile: Profile) -> Rules:
        """Raises KeyError for a setting that is missing."""
        said = {name: str(value) for name, value in profile.settings.items()}
        return cls(
            gate=Fraction(said["gate"]),
            processes=int(said["processes"]),
            reference_seconds=float(said["reference_seconds"]),
            train_cpu_seconds=float(said["train_cpu_seconds"]),
            eval_cpu_seconds=float(said["eval_cpu_seconds"]),
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
    """CPU seconds of recipe and reference processes, pair by pair -> seconds of a machine on which the reference takes
    ``reference_seconds``. Raises ValueError for a pair that took no time or lists of different lengths."""
    if any(seconds <= 0 for seconds in (*recipe, *reference)):
        raise ValueError("a process took no CPU time")
    scaled = [reference_seconds * mine / theirs for mine, theirs in zip(recipe, reference, strict=True)]
    error = statistics.stdev(scaled) / math.sqrt(len(scaled)) if len(scaled) > 1 else 0.0
    return Score(statistics.fmean(scaled), error, min(scaled))
