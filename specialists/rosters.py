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

PAPER_FIVE_NANOCHAT = Roster(
    name="paper-five-nanochat",
    title="The paper's five specialists for NanoChat-D12",
    environment="nanochat_d12",
    roles=(
        Role("architecture", ("architecture.py",), "The network at its given depth: blocks, embeddings, head, sizes."),
        Role("optimization", ("optimization.py",), "Optimiser, parameter groups, rates, moments, decay."),
        Role("data", ("data.py",), "Vocabulary, which text is read, in what order, batch and length."),
        Role("schedule", ("schedule.py",), "How many steps the budget is spent on, and the rate over them."),
        Role("systems", ("systems.py",), "What a step costs: kernels, portions, precision; what a prediction sees."),
    ),
)
PAPER_FIVE_CIFAR = Roster(
    name="paper-five-cifar",
    title="The paper's five specialists for CIFAR airbench96",
    environment="cifar_airbench96",
    roles=(
        Role("architecture", ("architecture.py",), "Layers, channels, pooling, initial weights, memory layout."),
        Role("optimization", ("optimization.py",), "Epochs, batches, optimiser, rates and their schedule."),
        Role(
            "augmentation", ("augmentation.py",), "How pictures become numbers, vary, and are looked at when it counts."
        ),
        Role("loss", ("loss.py",), "The training objective, and which examples it is taken over."),
        Role("regularization", ("regularization.py",), "Norms, dropout, weight decay, averages of the weights."),
    ),
)

#: The paper's rosters, each for one environment.
ROSTERS: dict[str, Roster] = {roster.name: roster for roster in (PAPER_TEN, PAPER_FIVE_NANOCHAT, PAPER_FIVE_CIFAR)}
#: Rosters that fit every environment, by name: how many alike roles own all files together.
SINGLE, GENERIC_TEN = "single", "generic-10"
GENERIC_TITLES = {SINGLE: "One generalist for all files", GENERIC_TEN: "Ten generalists, each for all files"}
#: Every roster that a launch may name, with its title.
TITLES = {name: roster.title for name, roster in ROSTERS.items()} | GENERIC_TITLES


def single(spec: EnvironmentSpec) -> Roster:
    """One role that owns every file."""
    alone = Role("generalist", spec.files, f"The whole of {spec.title}.")
    return Roster(SINGLE, GENERIC_TITLES[SINGLE], spec.name, (alone,))


def generic_ten(spec: EnvironmentSpec) -> Roster:
    """Ten roles that differ in nothing but their names; each owns every file."""
    alike = tuple(Role(f"generic_{letter}", spec.files, f"The whole of {spec.title}.") for letter in "abcdefghij")
    return Roster(GENERIC_TEN, GENERIC_TITLES[GENERIC_TEN], spec.name, alike)


def rosters_for(spec: EnvironmentSpec) -> dict[str, Roster]:
    """Rosters that fit an environment, by name, the default first: the paper's where there is one, then the generic."""
    fitting = [roster for roster in ROSTERS.values() if roster.environment == spec.name]
    return {roster.name: roster for roster in (*fitting, single(spec), generic_ten(spec))}
