"""CIFAR airbench96: the least time of a cold process that trains a network to an accuracy and predicts with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evaluators.contract import EnvironmentSpec, HarnessFault, Measurement, Outcome, Profile, Progress
from evaluators.environments.cifar_airbench96 import data
from evaluators.environments.cifar_airbench96.judge import judge
from evaluators.environments.cifar_airbench96.spec import REFERENCE, SPEC
from evaluators.harness import speed
from evaluators.harness.identity import code_sha256
from evaluators.sandbox import SandboxUnavailable, reach


class CifarAirbench96:
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
        """Time at the gate on ``validation`` or ``sealed``. Raises HarnessFault (missing data or walls), Cancelled."""
        try:
            corpus, isolation = data.load(), reach(level)
        except (data.DataError, SandboxUnavailable) as error:
            raise HarnessFault(str(error)) from error
        task = speed.Task(
            train=corpus.part("train", _size(profile, "train_images")),
            held_out=corpus.part(split, _size(profile, "held_out_images")),
            classes=data.CLASSES,
            reference={path.name: path.read_bytes() for path in sorted(REFERENCE.glob("*.py"))},
            data_sha256=corpus.sha256,
            evaluator_sha256=code_sha256(SPEC.name),
        )
        return speed.measure(task, profile, source, seed=seed, split=split, isolation=isolation, report=report)

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        """Pure; see judge.py."""
        return judge(measurement, profile)

    def prepare(self, profile: Profile) -> dict[str, object]:
        """Check the images. Never raises for missing data: it is what the answer is about."""
        found: dict[str, object] = {
            "environment": SPEC.name,
            "profile": profile.name,
            "looked_for": str(data.FILE),
            "kept_in": str(data.FILE.parent),
            "expected": "Fashion-MNIST at 14 x 14, uint8 (N, 14, 14, 1): "
            + ", ".join(f"{count:,} {split}" for split, count in data.SIZES.items()),
        }
        try:
            corpus = data.load()
        except data.DataError as error:
            return found | {"ready": False, "there": {}, "missing": [str(error)]}
        sizes = {
            split: _size(profile, "train_images" if split == "train" else "held_out_images") for split in data.SPLITS
        }
        there = {split: data.describe(corpus.part(split)) | {"sha256": corpus.sha256[split]} for split in data.SPLITS}
        shared = {split: data.shared(corpus, split) for split in ("validation", "sealed")}
        return found | {"ready": True, "there": there, "used": sizes, "shared_with_train": shared, "missing": []}


def _size(profile: Profile, name: str) -> int:
    return int(str(profile.settings[name]))
