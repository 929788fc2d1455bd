"""Scripts of others: an unmodified upstream program, run in a sandbox, whose score is read from its log.

Such a score is the script's own word: every record of it says ``log``, and nothing can verify it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from evaluators.contract import EnvironmentSpec, HarnessFault, Measurement, Outcome, Profile, Progress
from evaluators.environments.script.definition import Definition
from evaluators.environments.script.judge import judge
from evaluators.environments.script.run import measure, why_not
from evaluators.sandbox import SandboxUnavailable, reach
from trials.vocab import Label


class Script:
    """The environment that one TOML file defines; see evaluators.contract.Environment."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.spec: EnvironmentSpec = definition.spec

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
        """One run. A script knows one split, so ``sealed`` is answered without one. Raises HarnessFault, Cancelled."""
        if split != "validation":
            reason = f"a script has no {split} split"
            return Measurement(Label.INVALID_RESULT, reason, seed, split, score_source=self.spec.score_source)
        try:
            isolation = reach(level, loopback=self.definition.runs[profile.name].loopback)
        except SandboxUnavailable as error:
            raise HarnessFault(f"{self.definition.file}: {error}") from error
        if unfit := why_not(isolation):
            raise HarnessFault(unfit)
        if missing := self._missing(profile):
            raise HarnessFault(f"{self.definition.file}: readonly: {missing[0]} is missing on this host")
        return measure(self.definition, profile, source, seed=seed, split=split, isolation=isolation, report=report)

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        """Pure; see judge.py."""
        return judge(measurement, profile)

    def prepare(self, profile: Profile) -> dict[str, object]:
        """Whether what the script reads is there. Nothing is made: that is the script's owner's work."""
        wanted, missing = self.definition.runs[profile.name].readonly, self._missing(profile)
        return {
            "environment": self.spec.name,
            "profile": profile.name,
            "looked_for": str(self.definition.file),
            "expected": "every path of readonly",
            "ready": not missing,
            "there": {"files": str(self.spec.recipe_dir), "readonly": [path for path in wanted if path not in missing]},
            "missing": missing,
        }

    def _missing(self, profile: Profile) -> list[str]:
        return [path for path in self.definition.runs[profile.name].readonly if not Path(path).exists()]
