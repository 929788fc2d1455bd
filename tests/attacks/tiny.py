"""The smallest honest recipe of each contract, places in it where attacks are put, and how both are measured.

A table of pairs of bytes for language models, a nearest mean for images: a trial costs a few tenths of a second, and
the way of a measurement is that of any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from evaluators import preflight
from evaluators.contract import Environment, Measurement, Outcome, Profile, Progress
from evaluators.environments import cifar_airbench96
from evaluators.environments.cifar_airbench96 import CifarAirbench96
from evaluators.environments.nanochat_d12 import NanochatD12
from evaluators.environments.parameter_golf import ParameterGolf
from evaluators.sandbox import Isolation, reach

#: 65,536 bytes: a quantised log-probability of each byte behind each byte.
LANGUAGE_MODEL = """import numpy as np
import torch
#import
class Predictor:
    def __init__(self, artifact):
        self.table = np.frombuffer(artifact, np.uint8).reshape(256, 256)

    def vocabulary(self):
        words = [bytes([number]) for number in range(256)]
        #vocabulary
        return words

    def encode(self, text):
        tokens = list(text)
        #encode
        return tokens

    def logits(self, tokens):
        before = np.pad(tokens, ((0, 0), (1, 0)), constant_values=32)[:, :-1]
        out = self.table[before].astype(np.float32) / -16
        #logits
        return out
    #predictor


def train(ctx):
    #train
    text = np.frombuffer(b"".join(ctx.documents[:12])[:600_000], np.uint8).astype(np.int64)
    pairs = np.bincount(256 * text[:-1] + text[1:], minlength=65536).reshape(256, 256) + 0.05
    artifact = np.minimum(255, -16 * np.log(pairs / pairs.sum(1, keepdims=True))).astype(np.uint8).tobytes()
    #trained
    return artifact


def load(artifact, ctx):
    #load
    predictor = Predictor(artifact)
    #loaded
    return predictor
"""

IMAGES = """import numpy as np
import torch
#import


def train(ctx):
    for _ in range(8):  # enough to be seen on a clock of hundredths
        np.linalg.svd(np.eye(200) + 1)
    #train
    flat = ctx.images.reshape(len(ctx.images), -1).astype(np.float32)
    model = np.stack([flat[ctx.labels == each].mean(0) for each in range(10)])
    #trained
    return model


def predict(model, images):
    #predict
    flat = images.reshape(len(images), -1).astype(np.float32)
    out = flat @ model.T - (model**2).sum(1) / 2
    #predicted
    return out
"""


@dataclass(frozen=True)
class Arena:
    """One environment with its tiny recipe and a small profile."""

    environment: Environment
    body: str
    profile: Profile

    def recipe(self, edits: Mapping[str, str]) -> dict[str, bytes]:
        """The tiny recipe with code at its places: place -> lines."""
        lines = []
        for line in self.body.splitlines():
            place = line.strip().removeprefix("#")
            if line.strip().startswith("#") and place in edits:
                indent = line[: len(line) - len(line.lstrip())]
                lines += [indent + each for each in edits[place].strip("\n").splitlines()]
            else:
                lines.append(line)
        spec = self.environment.spec
        return {**dict.fromkeys(spec.files, b""), **dict.fromkeys(spec.joins, "\n".join(lines).encode() + b"\n")}

    def measured(
        self, edits: Mapping[str, str], profile: Profile | None = None, *, level: str = "L3", seed: int = 0
    ) -> tuple[Measurement, Outcome]:
        """What the evaluator saw of the tiny recipe with these edits, and its verdict."""
        source, chosen = self.recipe(edits), profile or self.profile
        assert preflight.check(self.environment.spec, source, parent=None, surface=()) is None
        found = self.environment.measure(
            source, profile=chosen, seed=seed, split="validation", level=level, report=_report
        )
        return found, self.environment.judge(found, chosen)


def _report(progress: Progress) -> None:
    assert 0.0 <= progress.fraction <= 1.0


def changed(profile: Profile, settings: Mapping[str, object] | None = None, **limits: Any) -> Profile:
    """The profile with other settings and limits."""
    kept = {**profile.settings, **(settings or {})}
    return replace(profile, limits=replace(profile.limits, **limits), settings=kept)


def warm(level: str, **_: object) -> Isolation:
    """Airbench starts its processes cold; a warm start has torch loaded already and is the same from then on."""
    return reach(level, start="warm")


def small(environment: Environment, **settings: object) -> Profile:
    """The smoke profile with other settings."""
    return changed(environment.spec.profiles["smoke"], settings)


_golf, _core, _speed = ParameterGolf(), NanochatD12(), CifarAirbench96()
GOLF = Arena(
    _golf,
    LANGUAGE_MODEL,
    changed(small(_golf, excerpt_bytes=2_048), train_seconds=60.0, eval_seconds=60.0, artifact_bytes=None),
)
CORE = Arena(_core, LANGUAGE_MODEL, changed(small(_core, items=12), train_seconds=60.0, eval_seconds=60.0))
SPEED = Arena(
    _speed,
    IMAGES,
    changed(
        small(_speed, train_images=500, held_out_images=500, floor_seconds=0.0), train_seconds=60.0, eval_seconds=60.0
    ),
)
ARENAS = {"golf": GOLF, "core": CORE, "speed": SPEED}
SPEED_MODULE = cifar_airbench96
