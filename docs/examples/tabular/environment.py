"""Tabular: the smallest error on rows of a table that a fixed generator makes. See docs/environments.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluators.child.frames import Kind, pack_texts
from evaluators.contract import EnvironmentSpec, Limits, Measurement, Outcome, Profile, Progress
from evaluators.harness.identity import code_sha256
from evaluators.harness.questions import Interview
from evaluators.harness.verdicts import Verdict
from trials.vocab import VALID, Direction, Label

HERE = Path(__file__).resolve().parent
ROWS, COLUMNS, NOISE = 400, 6, 0.1
SPLITS = {"train": 11, "validation": 12, "sealed": 13}  # seeds of the generator
Floats = NDArray[np.float32]

CPU = Profile("cpu", "cpu", Limits(train_seconds=10.0, eval_seconds=5.0, memory_bytes=1 << 30, artifact_bytes=256))
SPEC = EnvironmentSpec(
    name="tabular",
    title="A small table",
    score_name="rmse",
    score_unit="units of the target",
    direction=Direction.LOWER,
    files=("features.py", "model.py"),
    joins=("recipe.py",),
    recipe_dir=HERE / "recipe",
    profiles={"cpu": CPU},
)


def table(split: str) -> tuple[Floats, Floats]:
    """Rows (ROWS, COLUMNS) and their targets (ROWS,); the same on every machine."""
    draw = np.random.default_rng(SPLITS[split])
    rows = draw.normal(size=(ROWS, COLUMNS))
    targets = np.sin(2 * rows[:, 0]) + rows[:, 1] * rows[:, 2] + rows[:, 3] + NOISE * draw.normal(size=ROWS)
    return rows.astype("<f4"), targets.astype("<f4")


def packed(split: str) -> bytes:
    return pack_texts([part.tobytes() for part in table(split)])


def error_of(answer: bytes, targets: Floats) -> float:
    """Root mean squared error of predictions, float32 (ROWS,). Raises Verdict for anything else."""
    if len(answer) != 4 * ROWS or not np.isfinite(np.frombuffer(answer, "<f4")).all():
        reason = f"{len(answer)} bytes of predictions, expected {ROWS} finite numbers of 4"
        raise Verdict(Label.INVALID_RESULT, reason)
    return float(np.sqrt(np.mean((np.frombuffer(answer, "<f4").astype(float) - targets) ** 2)))


class Tabular:
    """The environment; see evaluators.contract.Environment."""

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
        """The targets of ``split`` never leave this process. Raises HarnessFault, Cancelled."""
        talk = Interview(HERE / "child", level, profile.limits, report)
        settings = {"seed": seed, "columns": COLUMNS}
        rows, targets = table(split)

        def run() -> float:
            with talk.process("train", settings, source) as ask:
                talk.artifact = ask(Kind.DOCUMENTS, packed("train"), Kind.TRAINED, profile.limits.artifact_bytes or 0)
            with talk.process("predict", settings, source) as ask:
                ask(Kind.ARTIFACT, talk.artifact, Kind.LOADED, 0)
                return error_of(ask(Kind.CHUNK, rows.tobytes(), Kind.LOGITS, 1 << 20), targets)

        return talk.measurement(
            run,
            seed=seed,
            split=split,
            evaluator_sha256=code_sha256(SPEC.name, HERE),
            data_sha256={name: sha256(packed(name)).hexdigest() for name in SPLITS},
        )

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        """Pure: a stored measurement in, a verdict out."""
        if measurement.status != "ok":
            return Outcome(Label(measurement.status), measurement.reason, None, measurement.numbers)
        if measurement.score is None or measurement.score < NOISE / 2:  # nobody can foresee the noise of unseen rows
            return Outcome(Label.INVALID_RESULT, f"a score of {measurement.score} is not believed", None, {})
        return Outcome(VALID, "", measurement.score, {})

    def prepare(self, profile: Profile) -> dict[str, object]:
        """The table is made when it is needed: nothing can be missing."""
        return {
            "environment": SPEC.name,
            "profile": profile.name,
            "ready": True,
            "there": {"rows": ROWS},
            "missing": [],
        }
