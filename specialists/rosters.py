"""Roles and rosters as data. A role owns a surface: the recipe files that it may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evaluators.contract import EnvironmentSpec


@dataclass(frozen=True)
class Role:
    """A specialist. ``surface`` names recipe files; ``preamble`` says what the role is for."""

    name: str
    surface: tuple[str, ...]
    preamble: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"surface": list(self.surface)}


@dataclass(frozen=True)
class Roster:
    name: str
    title: str
    environment: str
    roles: tuple[Role, ...]


def role_from_json(data: Mapping[str, Any]) -> Role:
    return Role(name=data["name"], surface=tuple(data["surface"]), preamble=data["preamble"])


PAPER_TEN = Roster(
    name="paper-ten",
    title="The paper's ten specialists",
    environment="parameter_golf",
    roles=(
        Role("architecture", ("architecture.py",), "Blocks, attention, residual paths, norms and embedding scheme."),
        Role("optimization", ("optimization.py",), "Optimiser, schedules, parameter groups, initialisation, clipping."),
        Role("quantization", ("quantization.py",), "How weights become bytes: bits, clipping, packing, compression."),
        Role("regularization", ("regularization.py",), "Averaging, dropout, weight decay targets, noise."),
        Role("loss", ("loss.py",), "The training objective and its auxiliary terms."),
        Role("evaluation", ("evaluation.py",), "Context, stride and calibration when the model is scored."),
        Role("curriculum", ("curriculum.py",), "Which text is seen, in which order, batch and length."),
        Role("tokenizer", ("tokenizer.py",), "Vocabulary, how it is learnt, how text becomes tokens."),
        Role(
            "test_time_training",
            ("test_time_training.py",),
            "Adaptation to text that has been scored already, net of its cost.",
        ),
        Role("meta", ("hyperparameters.py",), "Sizes, rates and lengths that the other files read."),
    ),
)

ROSTERS: dict[str, Roster] = {roster.name: roster for roster in (PAPER_TEN,)}
ONE_FOR_ALL, ONE_FOR_ALL_TITLE = "one-for-all", "One role for all files"


def rosters_for(spec: EnvironmentSpec) -> dict[str, Roster]:
    """Rosters that fit an environment, by name; where none is known, a single role that owns every file."""
    fitting = {name: roster for name, roster in ROSTERS.items() if roster.environment == spec.name}
    alone = Role("generalist", spec.files, f"The whole of {spec.title}.")
    return fitting or {ONE_FOR_ALL: Roster(ONE_FOR_ALL, ONE_FOR_ALL_TITLE, spec.name, (alone,))}
