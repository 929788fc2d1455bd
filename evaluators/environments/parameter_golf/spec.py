"""What is measured in golf, its files, and its sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evaluators.contract import EnvironmentSpec, Limits, Profile
from trials.vocab import Direction

HERE = Path(__file__).resolve().parent
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

#: What both full sizes share: FineWeb text, seconds for a budget, scores computed on the device.
FINEWEB: dict[str, object] = {
    "text": "fineweb",
    "rows": 64,
    "row_tokens": 2048,
    # Bytes of logits of one request: 32 rows of a vocabulary of 1,024, 4 rows of one of 8,192; and the share of all
    # chunks that the causality probe asks for.
    "chunk_bytes": 256 << 20,
    "probed_share": 0.1,
    "most_tokens": 65_536,
    "threads": 8,
    "scorer_threads": 4,
    "scratch_bytes": 4 << 30,
    # Below this a score is not believed: a quarter below the best on the public board of the challenge, 1.0611.
    "implausible_score": 0.8,
    "projection_seconds": 20.0,
    "projection_error": 0.05,
    "largest_artifact": 64 << 20,
}

GPU = Profile(
    name="gpu",
    device="cuda",
    limits=Limits(
        artifact_bytes=16_000_000,
        train_seconds=600.0,
        eval_seconds=600.0,
        memory_bytes=64 << 30,
        unit_tolerance=5 / 600,
        wallclock=True,
        processes=512,
    ),
    settings=FINEWEB | {"scored_bytes": 4_000_000},
    device_memory_bytes=16 << 30,
)

#: The paper's caps: 16,000,000 bytes of code and weights, 600 s to train and 600 s to predict, eight devices.
PAPER = replace(
    GPU,
    name="paper",
    limits=replace(GPU.limits, memory_bytes=256 << 30, processes=2048),
    settings=FINEWEB | {"scored_bytes": 16_000_000, "loopback": True},
    devices=8,
    device_memory_bytes=70 << 30,
)

SPEC = EnvironmentSpec(
    name="parameter_golf",
    licences={"data": "small profiles: public-domain works; full size: FineWeb, ODC-By 1.0"},
    title="Parameter Golf",
    score_name="val_bpb",
    score_unit="bits per byte",
    direction=Direction.LOWER,
    files=ROLE_FILES,
    joins=("recipe.py",),
    recipe_dir=HERE / "recipe",
    profiles={profile.name: profile for profile in (CPU, SMOKE, GPU, PAPER)},
    starts={"gpu": HERE / "recipe_gpu", "paper": HERE / "recipe_gpu"},
)
