"""NanoChat-D12 recipes for tests: the start with edits, measured in real sandboxes at the smallest profile."""

from __future__ import annotations

from collections.abc import Mapping

from evaluators.contract import Measurement, Profile, Progress
from evaluators.environments.nanochat_d12 import NanochatD12
from evaluators.preflight import read_recipe

CORE = NanochatD12()
SMOKE = CORE.spec.profiles["smoke"]
START = read_recipe(CORE.spec)


def edited(*edits: tuple[str, str, str], source: Mapping[str, bytes] = START) -> dict[str, bytes]:
    """The source with (file, old, new) replaced; each old text must stand there exactly once."""
    changed = dict(source)
    for name, old, new in edits:
        text = changed[name].decode()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
        changed[name] = text.replace(old, new).encode()
    return changed


#: The start with few steps, for what does not depend on a model that has learnt something.
QUICK = edited(("schedule.py", "max(1, round(STEPS_PER_SECOND * seconds))", "4"))


def measured(source: Mapping[str, bytes], profile: Profile = SMOKE, seed: int = 0) -> Measurement:
    def report(progress: Progress) -> None:
        assert 0.0 <= progress.fraction <= 1.0

    return CORE.measure(source, profile=profile, seed=seed, split="validation", level="L3", report=report)
