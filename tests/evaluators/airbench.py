"""Airbench recipes for tests: the start with edits, measured in real sandboxes at the smallest profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evaluators.contract import Measurement, Profile, Progress
from evaluators.environments.cifar_airbench96 import CifarAirbench96
from evaluators.preflight import read_recipe

AIRBENCH = CifarAirbench96()
START = read_recipe(AIRBENCH.spec)
SMOKE = AIRBENCH.spec.profiles["smoke"]


def edited(*edits: tuple[str, str, str]) -> dict[str, bytes]:
    """The start with (file, old, new) replaced; each old text must stand there exactly once."""
    source = dict(START)
    for name, old, new in edits:
        text = source[name].decode()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
        source[name] = text.replace(old, new).encode()
    return source


def ruled(**settings: object) -> Profile:
    """The smoke profile with other settings."""
    return replace(SMOKE, settings={**SMOKE.settings, **settings})


def limited(**limits: Any) -> Profile:
    """The smoke profile with other limits."""
    return replace(SMOKE, limits=replace(SMOKE.limits, **limits))


#: Ends with the first recipe process, whose accuracy and CPU seconds are on record by then.
HOPELESS = ruled(gate=0.99, processes=3)


def measured(source: Mapping[str, bytes], profile: Profile = SMOKE, seed: int = 0) -> Measurement:
    def report(progress: Progress) -> None:
        assert 0.0 <= progress.fraction <= 1.0

    return AIRBENCH.measure(source, profile=profile, seed=seed, split="validation", level="L3", report=report)
