"""A folder in nanochat's layout, as small as one can be: shards of plays, and a bundle with a task of each kind."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from evaluators.contract import Measurement, Profile
from evaluators.environments.parameter_golf import data
from tests.evaluators.core import CORE

#: Label -> kind, examples in front, chance in per cent, and what stands between question and answer (None: left out).
TASKS: Mapping[str, tuple[str, int, float, str | None]] = {
    "colours": ("multiple_choice", 2, 25, "\nAnswer: "),
    "who": ("schema", 1, 50, None),
    "again": ("language_modeling", 3, 0, " "),
}
EXAMPLES = 20
ITEMS = 8


def write(place: Path) -> None:
    """Three training shards and a held-out one, and the bundle."""
    shards = place / "base_data_climbmix"
    shards.mkdir(parents=True)
    plays = [text.decode() for text in list(data.load().train.values())[:6]]
    held_out = [plays[5][at : at + 3_000] for at in range(0, 60_000, 3_000)]
    for number, texts in enumerate((plays[:2], plays[2:4], [plays[4], ""], held_out)):
        write_shard(shards / f"shard_{number:05d}.parquet", [text[:60_000] for text in texts])
    write_bundle(place / "eval_bundle", examples())


def write_shard(path: Path, texts: Sequence[str]) -> None:
    """A parquet file with the rows in groups of two."""
    parquet.write_table(pyarrow.table({"text": list(texts)}), path, row_group_size=2)


def examples() -> dict[str, list[dict[str, Any]]]:
    """Label -> its examples."""
    draw = random.Random(7)
    colours = ["red", "green", "blue", "ash grey"]
    words = ["king", "moon", "sword", "bell", "rose", "crown", "ship"]
    found: dict[str, list[dict[str, Any]]] = {label: [] for label in TASKS}
    for number in range(EXAMPLES):
        word, other = draw.sample(words, 2)
        found["colours"].append(
            {"query": f"The {word} {number} is of what colour?", "choices": colours, "gold": number % 4}
        )
        found["who"].append(
            {
                "context_options": [f"{number}: the {word} met the {other}, the {each}" for each in (other, word)],
                "continuation": f"was the taller of the {draw.choice(words)}s",
                "gold": number % 2,
            }
        )
        found["again"].append({"context": f"{number} {word} {other} {word} {other}  ", "continuation": word})
    return found


def write_bundle(place: Path, told: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The three parts of a bundle."""
    (place / "eval_data" / "made_up").mkdir(parents=True)
    lines = ["icl_tasks:"]
    for label, (kind, shots, _, delimiter) in TASKS.items():
        lines += [f"- label: {label}", f"  icl_task_type: {kind}", f"  dataset_uri: made_up/{label}.jsonl"]
        lines += [f"  num_fewshot: [{shots}]"]
        lines += [] if delimiter is None else [f"  continuation_delimiter: {json.dumps(delimiter)}"]
        body = "".join(f"{json.dumps(example)}\n" for example in told[label])
        (place / "eval_data" / "made_up" / f"{label}.jsonl").write_text(body)
    (place / "core.yaml").write_text("\n".join(lines) + "\n")
    chances = [f"{label},made up,{chance}" for label, (_, _, chance, _) in TASKS.items()]
    (place / "eval_meta_data.csv").write_text("\n".join(["Eval Task,Task Category,Random baseline", *chances]) + "\n")


def small(name: str, *, threads: int = 1, settings: Mapping[str, object] | None = None, **limits: Any) -> Profile:
    """A full-size profile on CPU tensors, with seconds, texts and tasks that a test can wait for."""
    profile = CORE.spec.profiles[name]
    chosen = {"train_seconds": 30.0, "eval_seconds": 60.0, "memory_bytes": 8 << 30, **limits}
    sizes = {
        "vocabulary": 500,
        "tokenizer_bytes": 200_000,
        "items": ITEMS,
        "scored_bytes": 6_000,
        "row_tokens": 128,
        "chunk_tokens": 1_024,
        "chunk_bytes": 4 << 20,
        "spelt_again": 200,
        "threads": threads,
        "scorer_threads": 1,
        "projection_seconds": 20.0,
        "scratch_bytes": 64 << 20,
        **(settings or {}),
    }
    return replace(
        profile,
        device="cpu",
        limits=replace(profile.limits, **chosen),
        settings={**profile.settings, **sizes},
    )


def measured(source: Mapping[str, bytes], profile: Profile, split: str = "validation") -> Measurement:
    """What the evaluator sees of a recipe."""
    return CORE.measure(source, profile=profile, seed=0, split=split, level="L3", report=lambda _: None)
