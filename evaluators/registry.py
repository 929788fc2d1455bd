"""Every environment by name: one explicit table, then the scripts that this host's folders define."""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured

from evaluators.contract import Environment, Profile
from evaluators.environments.cifar_airbench96 import CifarAirbench96
from evaluators.environments.nanochat_d12 import NanochatD12
from evaluators.environments.parameter_golf import ParameterGolf
from evaluators.environments.script import Script
from evaluators.environments.script.definition import load_all

FOLDERS = "AUTORESEARCH_ENVIRONMENTS"

ENVIRONMENTS: dict[str, Environment] = {
    environment.spec.name: environment for environment in (ParameterGolf(), NanochatD12(), CifarAirbench96())
}


def register(environment: Environment) -> None:
    """Add an environment beside those of the table. Raises ValueError when its name is taken."""
    name = environment.spec.name
    if name in ENVIRONMENTS:
        raise ValueError(f"the name {name!r} is taken, expected none of {', '.join(sorted(ENVIRONMENTS))}")
    ENVIRONMENTS[name] = environment


def register_scripts(folders: str) -> None:
    """Add every script that a ``*.toml`` in these folders defines. Raises ImproperlyConfigured."""
    try:
        for definition in load_all(folders):
            try:
                register(Script(definition))
            except ValueError as error:
                raise ValueError(f"{definition.file}: name: {error}") from error
    except ValueError as error:
        raise ImproperlyConfigured(f"{FOLDERS}: {error}") from error


def get_environment(name: str) -> Environment:
    """Raises LookupError that names what there is."""
    if name not in ENVIRONMENTS:
        raise LookupError(f"environment {name!r} is unknown, expected one of {', '.join(sorted(ENVIRONMENTS))}")
    return ENVIRONMENTS[name]


def profile_of(environment: str, profile: str) -> tuple[Environment, Profile]:
    """Raises LookupError for an unknown environment or profile."""
    chosen = get_environment(environment)
    if profile not in chosen.spec.profiles:
        known = ", ".join(chosen.spec.profiles)
        raise LookupError(f"profile {profile!r} of {environment} is unknown, expected one of {known}")
    return chosen, chosen.spec.profiles[profile]


register_scripts(os.environ.get(FOLDERS, ""))
