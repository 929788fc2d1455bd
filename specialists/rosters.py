"""Roles and rosters as data. A role owns a surface: the recipe files that it may change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evaluators.contract import EnvironmentSpec


@dataclass(frozen=True)
class Role:
    """A specialist. ``surface`` names recipe files; ``preamble`` says what the role is for.

    ``priors``: what its agent should know beforehand; empty in the paper's rosters.
    """

    name: str
    surface: tuple[str, ...]
    preamble: str
    priors: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"surface": list(self.surface)}


@dataclass(frozen=True)
class Roster:
    """Roles for one environment. ``shared``: roles may own the same files, as roles that are all alike do."""

    name: str
    title: str
    environment: str
    roles: tuple[Role, ...]
    shared: bool = False


class RosterError(ValueError):
    """A roster that cannot be used: which role or file, and what was expected."""


def role_from_json(data: Mapping[str, Any]) -> Role:
    surface, priors = tuple(data["surface"]), data.get("priors", "")
    return Role(name=data["name"], surface=surface, preamble=data["preamble"], priors=priors)


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
    return Roster(SINGLE, GENERIC_TITLES[SINGLE], spec.name, (alone,), shared=True)


def generic_ten(spec: EnvironmentSpec) -> Roster:
    """Ten roles that differ in nothing but their names; each owns every file."""
    alike = tuple(Role(f"generic_{letter}", spec.files, f"The whole of {spec.title}.") for letter in "abcdefghij")
    return Roster(GENERIC_TEN, GENERIC_TITLES[GENERIC_TEN], spec.name, alike, shared=True)


def rosters_for(spec: EnvironmentSpec) -> dict[str, Roster]:
    """Rosters that fit an environment, by name, the default first: the paper's where there is one, then the generic."""
    fitting = [roster for roster in ROSTERS.values() if roster.environment == spec.name]
    return {roster.name: roster for roster in (*fitting, single(spec), generic_ten(spec))}


#: Names of rosters are words in slugs and options; names of roles are identifiers, shown as words.
ROSTER_NAME, ROLE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}"), re.compile(r"[a-z][a-z0-9_]{0,59}")
#: The starting recipe is a trial of this role.
TAKEN = "baseline"


def check(roster: Roster, spec: EnvironmentSpec) -> None:
    """Whether every file of the environment has an owner, and every role something to own.

    Raises RosterError: no role, a name that is no name or used twice, a role without files or purpose, a file that the
    recipe lacks or nobody may own, one with two owners (unless ``shared``), one without any.
    """
    if not ROSTER_NAME.fullmatch(roster.name):
        raise RosterError(f"the name {roster.name[:60]!r} cannot be used, expected small letters, digits and hyphens")
    if not roster.roles:
        raise RosterError("there is no role, expected at least one")
    owners: dict[str, str] = {}
    names: set[str] = set()
    for role in roster.roles:
        _check_role(role, spec)
        if role.name in names:
            raise RosterError(f"two roles are called {role.name}, expected different names")
        names.add(role.name)
        for file in role.surface:
            if file in owners and not roster.shared:
                raise RosterError(f"{file} belongs to {owners[file]} and {role.name}, expected one owner")
            owners[file] = role.name
    uncovered = sorted(set(spec.files) - set(owners))
    if uncovered:
        raise RosterError(f"{uncovered[0]} belongs to no role, expected an owner for each of {', '.join(spec.files)}")


def _check_role(role: Role, spec: EnvironmentSpec) -> None:
    if not ROLE_NAME.fullmatch(role.name) or role.name == TAKEN:
        expected = f"small letters, digits and underscores, and not {TAKEN}"
        raise RosterError(f"a role cannot be called {role.name[:60]!r}, expected {expected}")
    if not role.surface:
        raise RosterError(f"{role.name} owns no file, expected some of {', '.join(spec.files)}")
    if not role.preamble.strip():
        raise RosterError(f"{role.name} has no preamble, expected a sentence that says what it is for")
    for file in role.surface:
        if file in spec.joins:
            raise RosterError(f"{role.name} owns {file}, which belongs to nobody, expected {', '.join(spec.files)}")
        if file not in spec.files:
            raise RosterError(f"{role.name} owns {file}, which the recipe lacks, expected {', '.join(spec.files)}")
    if len(set(role.surface)) != len(role.surface):
        raise RosterError(f"{role.name} names a file twice, expected each once")
