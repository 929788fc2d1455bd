"""Every environment by name: one explicit table."""

from __future__ import annotations

from evaluators.contract import Environment, Profile
from evaluators.environments.cifar_airbench96 import CifarAirbench96
from evaluators.environments.nanochat_d12 import NanochatD12
from evaluators.environments.parameter_golf import ParameterGolf

ENVIRONMENTS: dict[str, Environment] = {
    environment.spec.name: environment for environment in (ParameterGolf(), NanochatD12(), CifarAirbench96())
}


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
