"""Runs recipes from start to end on toy data, many in one process: train, load, spell back, logits, causality, adapt;
or, for recipes that tell pictures apart: train, predict.

Run as a script: reads a JSON list of ``{"name": ..., "files": {...}}`` from a file, writes ``{name: "ok" | why}``.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

STEPS, SECONDS = 2, 1.0
PICTURES, CLASSES = 160, 10
WORDS = ["the", "king", "of", "night,", "who", "art", "thou?", "I", "am", "thy", "father's", "ghost;", "speak:", "go"]


def documents() -> list[bytes]:
    """Three small made-up texts."""
    draw = random.Random(5)
    texts = []
    for _ in range(3):
        lines = [" ".join(draw.choices(WORDS, k=draw.randint(4, 9))).capitalize() + "." for _ in range(40)]
        texts.append("\n".join(lines).encode())
    return texts


class Budget:
    """A plain counter of steps: every question about what is spent counts as one."""

    units = STEPS
    seconds = SECONDS

    def __init__(self) -> None:
        self.asked = -1

    def spent(self) -> int:
        self.asked += 1
        return self.asked


def check(files: dict[str, str]) -> None:
    """Raises whatever is wrong with a recipe."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text)
        names = [name.removesuffix(".py") for name in files]
        for name in names:
            sys.modules.pop(name, None)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            recipe = importlib.import_module("recipe")
            (exercise if hasattr(recipe, "load") else exercise_pictures)(recipe)
        finally:
            sys.path.remove(folder)
            for name in names:
                sys.modules.pop(name, None)


def exercise(recipe: object) -> None:
    ctx = SimpleNamespace(seed=1, device="cpu", threads=1, documents=documents(), budget=Budget())
    artifact = recipe.train(ctx)
    assert isinstance(artifact, bytes), "the artifact is not bytes"
    predictor = recipe.load(artifact, ctx)
    vocabulary = predictor.vocabulary()
    text = ctx.documents[0][:700] + b"\n\n  Zounds!\nWho's there? 42"
    numbers = predictor.encode(text)
    assert b"".join(vocabulary[i] for i in numbers) == text, "tokens do not spell the text"
    size = len(numbers) // 2
    chunk = np.array(numbers[: 2 * size], dtype=np.int32).reshape(2, size)
    first = predictor.logits(chunk)
    assert first.shape == (2, size, len(vocabulary)), f"logits are {first.shape}"
    assert first.dtype == np.float32 and np.isfinite(first).all(), "logits are not finite float32"
    cut = size // 2 + 3
    other = chunk.copy()
    other[:, cut:] = other[:, cut:][:, ::-1]
    second = predictor.logits(other)
    assert np.abs(first[:, : cut + 1] - second[:, : cut + 1]).max() < 1e-4, "predictions move with the future"
    if hasattr(predictor, "adapt"):
        predictor.adapt(chunk)
        third = predictor.logits(chunk)
        assert np.isfinite(third).all(), "logits are not finite after adapting"
        assert np.abs(third - first).max() > 0, "adapting changes nothing"
        moved = predictor.logits(other)
        assert np.abs(third[:, : cut + 1] - moved[:, : cut + 1]).max() < 1e-4, (
            "adapted predictions move with the future"
        )


def exercise_pictures(recipe: object) -> None:
    """Pictures with a bright bar whose place tells the class get scores of their own."""
    draw = np.random.default_rng(3)
    labels = np.arange(PICTURES) % CLASSES
    images = draw.integers(0, 120, (PICTURES, 14, 14, 1), dtype=np.uint8)
    images[np.arange(PICTURES), 2 + labels] = 250
    model = recipe.train(SimpleNamespace(seed=1, images=images, labels=labels.astype(np.int64)))
    scores = recipe.predict(model, images)
    assert scores.shape == (PICTURES, CLASSES), f"scores are {scores.shape}"
    assert scores.dtype == np.float32 and np.isfinite(scores).all(), "scores are not finite float32"
    assert np.ptp(scores, axis=0).max() > 1e-3, "all pictures look alike"
    assert np.abs(scores - recipe.predict(model, images)).max() < 1e-4, "predictions change by themselves"


def main(source: str, target: str) -> None:
    torch.set_num_threads(1)
    outcome = {}
    for recipe in json.loads(Path(source).read_text()):
        try:
            check(recipe["files"])
            outcome[recipe["name"]] = "ok"
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            outcome[recipe["name"]] = f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    Path(target).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
