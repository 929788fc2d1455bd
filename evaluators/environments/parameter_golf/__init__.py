"""Parameter Golf: the fewest bits per byte of held-out text under a cap on code plus weights, and two budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evaluators.contract import EnvironmentSpec, HarnessFault, Measurement, Outcome, Profile, Progress
from evaluators.environments.parameter_golf import data
from evaluators.environments.parameter_golf.judge import judge
from evaluators.environments.parameter_golf.spec import SPEC
from evaluators.harness import language_model
from evaluators.harness.conversation import Order
from evaluators.harness.identity import code_sha256
from evaluators.sandbox import SandboxUnavailable, reach


class ParameterGolf:
    """The environment as the registry knows it; see evaluators.contract.Environment."""

    spec: EnvironmentSpec = SPEC

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
        """val_bpb on ``validation`` or ``sealed``. Raises HarnessFault (missing data or walls), Cancelled."""
        try:
            corpus, isolation = data.load(), reach(level, start="warm")
        except (data.DataError, SandboxUnavailable) as error:
            raise HarnessFault(str(error)) from error
        held_out = tuple(_head(text, profile) for text in corpus.excerpts(split))
        order = Order(
            profile=profile,
            source=source,
            seed=seed,
            split=split,
            isolation=isolation,
            report=report,
            train=tuple(text for _name, text in sorted(corpus.train.items())),
            data_sha256=corpus.sha256,
            evaluator_sha256=code_sha256(SPEC.name),
        )
        return language_model.measure(order, held_out)

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        """Pure; see judge.py."""
        return judge(measurement, profile)

    def prepare(self, profile: Profile) -> dict[str, object]:
        """Make or check the text. Never raises for missing data: it is what the answer is about."""
        folder = data.text_directory()
        found: dict[str, object] = {
            "environment": SPEC.name,
            "profile": profile.name,
            "looked_for": str(folder) if folder else f"{data.PLAYS}, {data.BIBLE} (installed packages)",
            "kept_in": str(data.data_directory() / SPEC.name),
            "expected": "whole documents: at least 200,000 bytes to train on, 4,096 each for validation and sealed",
        }
        try:
            corpus = data.load()
        except data.DataError as error:
            return found | {"ready": False, "there": {}, "missing": [str(error)]}
        there = {
            split: data.describe(list(corpus.documents(split).values())) | {"sha256": corpus.sha256[split]}
            for split in data.SPLITS
        }
        scored = {split: data.describe(corpus.excerpts(split)) for split in ("validation", "sealed")}
        shared = {split: round(data.overlap(corpus, split), 6) for split in ("validation", "sealed")}
        return found | {"ready": True, "there": there, "scored": scored, "overlap_with_train": shared, "missing": []}


def _head(text: bytes, profile: Profile) -> bytes:
    return text[: int(str(profile.settings.get("excerpt_bytes", data.EXCERPT_BYTES)))]
