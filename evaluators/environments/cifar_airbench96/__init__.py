"""CIFAR airbench96: the least time of a cold process that trains a network to an accuracy and predicts with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evaluators.contract import EnvironmentSpec, HarnessFault, Measurement, Outcome, Profile, Progress
from evaluators.environments.cifar_airbench96 import cifar10, data
from evaluators.environments.cifar_airbench96.judge import judge
from evaluators.environments.cifar_airbench96.spec import CIFAR10, REFERENCES, SPEC
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
        clock = str(profile.settings["clock"])
        try:
            images, isolation = _images(profile), reach(level)
            company = reach(level, start="warm") if clock == "cpu" else isolation
        except (data.DataError, SandboxUnavailable) as error:
            raise HarnessFault(str(error)) from error
        task = speed.Task(
            train=images.train_for(split, _size(profile, "train_images")),
            held_out=images.part(split, _size(profile, "held_out_images")),
            classes=data.CLASSES,
            reference={path.name: path.read_bytes() for path in sorted(REFERENCES[clock].glob("*.py"))},
            data_sha256=images.sha256,
            evaluator_sha256=code_sha256(SPEC.name),
        )
        return speed.measure(
            task, profile, source, seed=seed, split=split, isolation=isolation, company=company, report=report
        )

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        """Pure; see judge.py."""
        return judge(measurement, profile)

    def prepare(self, profile: Profile) -> dict[str, object]:
        """Check the images. Never raises for missing data: it is what the answer is about."""
        found: dict[str, object] = {"environment": SPEC.name, "profile": profile.name}
        return found | (_cifar10(profile) if profile.settings["images"] == CIFAR10 else _fashion(profile))


def _images(profile: Profile) -> data.Corpus | cifar10.Cifar10:
    """What the profile is measured on. Raises DataError."""
    if profile.settings["images"] == CIFAR10:
        return cifar10.load(_size(profile, "images_per_file"))
    return data.load()


def _fashion(profile: Profile) -> dict[str, object]:
    """What there is of the images in the tree."""
    found: dict[str, object] = {
        "looked_for": str(data.FILE),
        "kept_in": str(data.FILE.parent),
        "expected": "Fashion-MNIST at 14 x 14, uint8 (N, 14, 14, 1): "
        + ", ".join(f"{count:,} {split}" for split, count in data.SIZES.items()),
    }
    try:
        corpus = data.load()
    except data.DataError as error:
        return found | {"ready": False, "there": {}, "missing": [str(error)]}
    sizes = {split: _size(profile, "train_images" if split == "train" else "held_out_images") for split in data.SPLITS}
    there = {split: data.describe(corpus.part(split)) | {"sha256": corpus.sha256[split]} for split in data.SPLITS}
    shared = {split: data.shared(corpus, split) for split in ("validation", "sealed")}
    return found | {"ready": True, "there": there, "used": sizes, "shared_with_train": shared, "missing": []}


def _cifar10(profile: Profile) -> dict[str, object]:
    """What there is in the operator's folder, and each fault."""
    found: dict[str, object] = {"looked_for": cifar10.looked_for(), "expected": cifar10.expected()}
    images, missing = cifar10.check(_size(profile, "images_per_file"))
    if images is None:
        return found | {"ready": False, "kept_in": "", "there": {}, "missing": missing}
    there = {name: cifar10.describe(batch) | {"sha256": images.sha256[name]} for name, batch in images.batches.items()}
    sizes = {
        "train": _size(profile, "train_images"),
        **{split: _size(profile, "held_out_images") for split in cifar10.HELD_OUT},
    }
    shared = {split: cifar10.shared(images, split) for split in cifar10.HELD_OUT}
    there_and_used = {"kept_in": str(images.folder), "there": there, "used": sizes, "shared_with_train": shared}
    return found | {"ready": True, **there_and_used, "missing": []}


def _size(profile: Profile, name: str) -> int:
    return int(str(profile.settings[name]))
