"""What is measured in golf, its files, and its two sizes."""

from __future__ import annotations

from pathlib import Path

from evaluators.contract import EnvironmentSpec, Limits, Profile
from trials.vocab import Direction

ROLE_FILES = (
    "architecture.py",
    "optimization.py",
    "quantization.py",
    "regularization.py",
    "loss.py",
    "evaluation.py",
    "curriculum.py",
    "tokenizer.py",
    "test_time_training.py",
    "hyperparameters.py",
)

#: Below this a score is not believed: the best compressor that is primed with the whole training text needs 2.27.
IMPLAUSIBLE_BPB = 1.2

SETTINGS: dict[str, object] = {
    # Rows of one request; a row is scored from its own earlier tokens, so context, window and stride are the recipe's.
    "rows": 4,
    "row_tokens": 512,
    # CPU seconds that may be spent outside of counted operators (reading text, learning merges), and how many times
    # what the paired reference pays the counted units may take. What is above is work that was hidden from the meter.
    "free_cpu_seconds": 4.0,
    "cpu_factor": 1.5,
    "seconds_between_slices": 0.5,
    "implausible_score": IMPLAUSIBLE_BPB,
    # Before the training the recipe packs what a few steps on a little text give. Over the trials of a search that came
    # out between 26 % below and 3.0 % above the trained artifact, so nothing within 5 % of the cap is refused for it.
    "projection_units": 8_000_000_000,
    "projection_bytes": 200_000,
    "projection_error": 0.05,
    "largest_artifact": 64 << 20,
}

CPU = Profile(
    name="cpu",
    device="cpu",
    limits=Limits(
        artifact_bytes=273_000,
        train_units=430_000_000_000,
        eval_units=130_000_000_000,
        train_seconds=120.0,
        eval_seconds=90.0,
        memory_bytes=4 << 30,
    ),
    settings=SETTINGS,
)

SMOKE = Profile(
    name="smoke",
    device="cpu",
    limits=Limits(
        artifact_bytes=285_000,  # weights that have hardly moved compress worse
        train_units=20_000_000_000,
        eval_units=130_000_000_000,
        train_seconds=45.0,
        eval_seconds=45.0,
        memory_bytes=4 << 30,
    ),
    settings=SETTINGS | {"excerpt_bytes": 4_096},
)

SPEC = EnvironmentSpec(
    name="parameter_golf",
    title="Parameter Golf",
    score_name="val_bpb",
    score_unit="bits per byte",
    direction=Direction.LOWER,
    files=ROLE_FILES,
    joins=("recipe.py",),
    recipe_dir=Path(__file__).resolve().parent / "recipe",
    profiles={profile.name: profile for profile in (CPU, SMOKE)},
)
