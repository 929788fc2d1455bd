"""What is measured in NanoChat-D12, its files, and its sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evaluators.contract import EnvironmentSpec, Limits, Profile
from trials.vocab import Direction

HERE = Path(__file__).resolve().parent
ROLE_FILES = ("architecture.py", "optimization.py", "data.py", "schedule.py", "systems.py")

#: Above this a score is not believed of a model of this size.
IMPLAUSIBLE_SCORE = 0.97

SETTINGS: dict[str, object] = {
    # Items of each task, where the text yields as many; bytes from the middle of each document that val_bpb is about,
    # and the length of its rows in tokens.
    "items": 400,
    "excerpt_bytes": 8_192,
    "row_tokens": 256,
    # Tokens of one request, the share of rows that are asked twice (scrambled), texts that each process spells again.
    "chunk_tokens": 2048,
    "probed_share": 0.33,
    "spelt_again": 400,
    # Training may take this many reference seconds: CPU seconds on a machine where the paired reference pays the
    # nominal price for a unit. Beyond the tolerance it is an overrun; beyond the slack as well it is stopped.
    "cap_reference_seconds": 30.0,
    "nominal_seconds_per_gigaunit": 0.02,
    "slack": 1.1,
    # Single slices of the reference differ by 15 to 20 %: as many as fit into one look at the recipe.
    "seconds_between_slices": 0.0,
    # CPU seconds of an evaluation outside of counted operators, and how many times what the reference pays the counted
    # ones may take.
    "free_cpu_seconds": 4.0,
    "cpu_factor": 2.0,
    # Nothing is gained by a small artifact here; this only bounds what is read.
    "largest_artifact": 64 << 20,
    "implausible_score": IMPLAUSIBLE_SCORE,
}

CPU = Profile(
    name="cpu",
    device="cpu",
    limits=Limits(
        train_seconds=300.0,
        eval_seconds=180.0,
        memory_bytes=4 << 30,
        eval_units=500_000_000_000,
    ),
    settings=SETTINGS,
)

SMOKE = Profile(
    name="smoke",
    device="cpu",
    limits=Limits(
        train_seconds=60.0,
        eval_seconds=60.0,
        memory_bytes=4 << 30,
        eval_units=100_000_000_000,
    ),
    settings=SETTINGS | {"items": 40, "excerpt_bytes": 1_024, "cap_reference_seconds": 6.0, "spelt_again": 150},
)

#: What both full sizes share: ClimbMix text and the CORE bundle, seconds for a budget, scores computed on the device.
CLIMBMIX: dict[str, object] = {
    "text": "climbmix",
    # Tokens of the shards, and bytes of the training text that they are learnt from, once, by ``prepare``.
    "vocabulary": 32_768,
    "tokenizer_bytes": 256_000_000,
    # Questions of each task; bytes of held-out text that val_bpb is about, and the length of its rows in tokens.
    "items": 500,
    "scored_bytes": 500_000,
    "row_tokens": 1024,
    # Tokens and bytes of logits of one request; the share of requests that are sent twice, half of their rows among
    # others; pieces of text that each process spells again.
    "chunk_tokens": 65_536,
    "chunk_bytes": 256 << 20,
    "probed_share": 1.0,
    "spelt_again": 10_000,
    "most_tokens": 65_536,
    "threads": 8,
    "scorer_threads": 4,
    "scratch_bytes": 8 << 30,
    # Before the training the recipe trains for so long and packs the result, so that it is known to come to an end.
    "projection_seconds": 60.0,
    "projection_error": 0.05,
    "largest_artifact": 4 << 30,
    # Twice the best that is known of this depth.
    "implausible_score": 0.5,
}

GPU = Profile(
    name="gpu",
    device="cuda",
    limits=Limits(
        # No cap of the task's: it bounds what is read, 1,000 million weights of two bytes.
        artifact_bytes=2_000_000_000,
        train_seconds=5400.0,
        eval_seconds=1800.0,
        memory_bytes=128 << 30,
        unit_tolerance=5 / 5400,
        wallclock=True,
        processes=512,
    ),
    settings=CLIMBMIX,
    device_memory_bytes=40 << 30,
)

#: The paper's budget: 90 minutes of eight devices.
PAPER = replace(
    GPU,
    name="paper",
    limits=replace(GPU.limits, memory_bytes=512 << 30, processes=2048),
    settings=CLIMBMIX | {"loopback": True},
    devices=8,
    device_memory_bytes=70 << 30,
)

SPEC = EnvironmentSpec(
    name="nanochat_d12",
    licences={"data": "small profiles: public-domain works; full size: FineWeb, ODC-By 1.0"},
    title="NanoChat-D12",
    score_name="core",
    score_unit="centred accuracy",
    direction=Direction.HIGHER,
    files=ROLE_FILES,
    joins=("recipe.py",),
    recipe_dir=HERE / "recipe",
    profiles={profile.name: profile for profile in (CPU, SMOKE, GPU, PAPER)},
    starts={"gpu": HERE / "recipe_gpu", "paper": HERE / "recipe_gpu"},
)
