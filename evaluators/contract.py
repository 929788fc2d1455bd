"""What an environment promises and what an evaluator hands back: frozen values, no Django, no torch.

An environment is a recipe contract, a protocol that measures a recipe, and profiles that set its size and limits.
The recipe never reports a score (DESIGN section 5): it yields artifacts and logits, the evaluator does the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from trials.vocab import Direction, Label


class HarnessFault(RuntimeError):
    """The evaluator or its host failed. Never raised for anything that a recipe does."""


class Cancelled(Exception):
    """The trial lost its lease or its campaign was stopped: the measurement is dropped."""


@dataclass(frozen=True)
class Limits:
    """Budgets of one trial. Units are deterministic compute units; seconds are safety caps of wall-clock time.

    None: the environment has no such budget. wallclock: the seconds are the budget itself, as on an exclusive device,
    and recipes read it in milliseconds. processes: processes and threads in a sandbox.
    """

    train_seconds: float
    eval_seconds: float
    memory_bytes: int
    artifact_bytes: int | None = None
    train_units: int | None = None
    eval_units: int | None = None
    unit_tolerance: float = 0.05
    wallclock: bool = False
    processes: int = 64


@dataclass(frozen=True)
class Profile:
    """One size of an environment: limits plus settings that its protocol understands.

    device: kind of worker that may measure it (``cpu``, ``cuda``); devices: how many of that kind one trial uses;
    device_memory_bytes: what each must have (the host, for ``cpu``, must have ``limits.memory_bytes``).
    """

    name: str
    device: str
    limits: Limits
    settings: Mapping[str, object] = field(default_factory=dict)
    devices: int = 1
    device_memory_bytes: int = 0


@dataclass(frozen=True)
class EnvironmentSpec:
    """What is measured, in which direction it improves, and the files that a recipe consists of.

    ``files`` are those that specialists may own; ``joins`` belong to nobody and may not be changed. ``score_source``:
    ``evaluator`` where the evaluator does the arithmetic, ``log`` where it can only read what a script prints.
    ``recipe_dir`` holds the starting recipe; ``starts``: profile -> folder whose files replace some of them there.
    ``licences``: of the ``data`` and of the ``recipe``, for whoever is handed a campaign's record.
    """

    name: str
    title: str
    score_name: str
    score_unit: str
    direction: Direction
    files: tuple[str, ...]
    joins: tuple[str, ...]
    recipe_dir: Path
    profiles: Mapping[str, Profile]
    score_source: str = "evaluator"
    starts: Mapping[str, Path] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)

    def as_json(self, profile: str) -> dict[str, object]:
        """The part of the specification that a campaign freezes into its record."""
        chosen = self.profiles[profile]
        return {
            "name": self.name,
            "score_name": self.score_name,
            "score_unit": self.score_unit,
            "score_source": self.score_source,
            "direction": str(self.direction),
            "files": list(self.files),
            "joins": list(self.joins),
            "profile": asdict(chosen),
        }


@dataclass(frozen=True)
class Progress:
    """How far a measurement is: phase name, fraction of its budget in [0, 1], a short note.

    tail: gives the newest bytes of what the recipe has printed, where it may be watched.
    """

    phase: str
    fraction: float
    note: str = ""
    tail: Callable[[], bytes] = bytes


@dataclass(frozen=True)
class Measurement:
    """What the evaluator saw. ``status`` is ``ok`` or the label that the failure deserves.

    score: value in the environment's unit, None unless status is ``ok``.
    numbers: exact figures behind the status (``bytes_over``, ``units_over``, ``position`` ...).
    seconds: wall-clock per phase (``preflight``, ``train``, ``eval``, ``probe`` ...); cpu_seconds too, from outside.
    log: what the recipe printed, bounded; excerpt: deepest exception line and deepest recipe frame.
    """

    status: str
    reason: str
    seed: int
    split: str
    score: float | None = None
    secondary: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)
    code_bytes: int | None = None
    payload_bytes: int | None = None
    artifact_sha256: str = ""
    train_units: int | None = None
    eval_units: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    isolation: Mapping[str, object] = field(default_factory=dict)
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    evaluator_sha256: str = ""
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    score_source: str = "evaluator"
    excerpt: str = ""
    log: bytes = b""

    @property
    def artifact_bytes(self) -> int | None:
        """Counted size: packed source plus payload, in bytes; None before an artifact exists."""
        if self.code_bytes is None or self.payload_bytes is None:
            return None
        return self.code_bytes + self.payload_bytes


@dataclass(frozen=True)
class Outcome:
    """The judge's verdict: ``valid`` or a failure label, why, the score, and the exact numbers."""

    label: Label | str
    reason: str
    score: float | None
    numbers: Mapping[str, float | int | str]


class Environment(Protocol):
    """One registered environment. ``measure`` runs recipes in sandboxes; ``judge`` is pure."""

    spec: EnvironmentSpec

    def measure(
        self,
        source: Mapping[str, bytes],
        *,
        profile: Profile,
        seed: int,
        split: str,
        level: str,
        report: Callable[[Progress], None],
    ) -> Measurement:
        """Measure one recipe. Raises HarnessFault for faults of our own, Cancelled when ``report`` says so."""

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        """Turn a measurement into an outcome."""

    def prepare(self, profile: Profile) -> dict[str, object]:
        """Make or check the data: what is there, what is missing, where it is looked for, the expected shape."""
