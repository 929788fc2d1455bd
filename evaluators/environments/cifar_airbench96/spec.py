"""What is measured in airbench, its files, and its sizes."""

from __future__ import annotations

from pathlib import Path

from evaluators.contract import EnvironmentSpec, Limits, Profile
from trials.vocab import Direction

ROLE_FILES = ("architecture.py", "optimization.py", "augmentation.py", "loss.py", "regularization.py")
HERE = Path(__file__).resolve().parent
REFERENCE = HERE / "reference"

CPU = Profile(
    name="cpu",
    device="cpu",
    limits=Limits(train_seconds=240.0, eval_seconds=120.0, memory_bytes=4 << 30),
    settings={
        # Mean accuracy of all processes below which no time counts.
        "gate": 0.865,
        "processes": 5,
        # CPU seconds of the reference process on the machine that scores are seconds of, when it was calm.
        "reference_seconds": 2.6,
        # Most CPU seconds of one process: until it has trained (the start needs 4 to 6), and from then on.
        "train_cpu_seconds": 40.0,
        "eval_cpu_seconds": 20.0,
        # A score below this is not believed: no training that reaches the gate is known to come near it.
        "floor_seconds": 0.4,
        "train_images": 12_000,
        "held_out_images": 4_000,
    },
)

SMOKE = Profile(
    name="smoke",
    device="cpu",
    limits=Limits(train_seconds=60.0, eval_seconds=30.0, memory_bytes=4 << 30),
    settings={
        "gate": 0.5,
        "processes": 1,
        "reference_seconds": 0.6,
        "train_cpu_seconds": 20.0,
        "eval_cpu_seconds": 10.0,
        "floor_seconds": 0.02,
        "train_images": 2_000,
        "held_out_images": 1_000,
    },
)

SPEC = EnvironmentSpec(
    name="cifar_airbench96",
    title="CIFAR airbench96",
    score_name="time",
    score_unit="s",
    direction=Direction.LOWER,
    files=ROLE_FILES,
    joins=("recipe.py",),
    recipe_dir=HERE / "recipe",
    profiles={profile.name: profile for profile in (CPU, SMOKE)},
)
