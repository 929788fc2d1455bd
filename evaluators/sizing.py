"""What an edit's artifact would weigh, told before a trial is spent: a few steps in a sandbox of this host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from evaluators import devices, sandbox
from evaluators.announce import WANTED_LEVEL
from evaluators.contract import Environment, HarnessFault, Measurement, Profile

NOT_HERE = "The size is not projected here"


@runtime_checkable
class Projecting(Protocol):
    """An environment that can pack a recipe's artifact after a few steps."""

    def project_size(self, source: Mapping[str, bytes], *, profile: Profile, seed: int, level: str) -> Measurement:
        """``numbers["projected_bytes"]``, and ``size_blocked`` where that is beyond the cap. Raises HarnessFault."""


def projected_size(
    environment: Environment, profile: Profile, source: Mapping[str, bytes], *, seed: int, minimum_level: str
) -> str:
    """In words: projected bytes against the cap, why the recipe failed, or why nothing can be said. Never raises."""
    why = _why_not(environment, profile, minimum_level)
    if why:
        return f"{NOT_HERE}: {why}."
    assert isinstance(environment, Projecting)
    try:
        with devices.hold(profile.device, profile.devices):
            found = environment.project_size(source, profile=profile, seed=seed, level=WANTED_LEVEL)
    except (HarnessFault, OSError, MemoryError, devices.Unavailable) as error:
        return f"{NOT_HERE}: {type(error).__name__}: {str(error)[:300]}."
    return _words(found, int(profile.limits.artifact_bytes or 0))


def _why_not(environment: Environment, profile: Profile, minimum_level: str) -> str:
    if profile.limits.artifact_bytes is None:
        return f"{environment.spec.title} has no cap on the artifact"
    if not isinstance(environment, Projecting):
        return f"{environment.spec.title} cannot be projected"
    if profile.device != "cpu":
        return f"it takes a device of kind {profile.device}, which is kept for trials"
    try:
        reached = sandbox.reach(WANTED_LEVEL, start="warm").level
    except sandbox.SandboxUnavailable as error:
        return str(error)
    return "" if reached >= minimum_level else f"this host reaches isolation {reached}, wanted is {minimum_level}"


def _words(found: Measurement, cap: int) -> str:
    projected = found.numbers.get("projected_bytes")
    if projected is None:
        told = f"{found.reason}\n{found.excerpt}".strip() if found.status != "ok" else ""
        return f"The recipe packed nothing after a few steps. {told}".strip()
    room = cap - int(projected)
    verdict = f"{room:,} bytes left" if room >= 0 else f"{-room:,} bytes over"
    return (
        f"Projected artifact: {int(projected):,} of {cap:,} bytes, {verdict} (after a few steps; trained weights may "
        f"compress better or a little worse)."
    )
