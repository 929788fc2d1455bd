"""Workers with a toy environment, which measures at once and in the worker's own process, and a toy proposer.

``celery -A benchmarks.throughput_toy worker``: all else is the site's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import django

from autoresearch_site.celery import app

django.setup()

from evaluators.contract import (  # noqa: E402 - Django first
    EnvironmentSpec,
    Limits,
    Measurement,
    Outcome,
    Profile,
    Progress,
)
from evaluators.registry import register  # noqa: E402
from specialists.proposals import Proposal, Request  # noqa: E402
from specialists.proposers.registry import PROPOSERS  # noqa: E402
from trials.vocab import VALID, Direction  # noqa: E402

NAME = "throughput_toy"
FILES = {"model.py": b"RATE = 0\n", "train.py": b"import model\n"}
LIMITS = Limits(train_seconds=60, eval_seconds=60, memory_bytes=1 << 28)


class Toy:
    """A score for every source, at no cost."""

    spec = EnvironmentSpec(
        name=NAME,
        title="A toy",
        score_name="loss",
        score_unit="of 1",
        direction=Direction.LOWER,
        files=("model.py",),
        joins=("train.py",),
        recipe_dir=Path(__file__).parent,
        profiles={"cpu": Profile("cpu", "cpu", LIMITS)},
    )

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
        score = int.from_bytes(sha256(source["model.py"]).digest()[:6], "big") / 2**48
        isolation = {"level": level, "wanted": level, "why_lower": "", "backend": "none", "details": {}}
        return Measurement("ok", "", seed, split, score=score, isolation=isolation)

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        if measurement.score is None:
            return Outcome(measurement.status, measurement.reason, None, {})
        return Outcome(VALID, "", measurement.score, {})

    def prepare(self, profile: Profile) -> dict[str, object]:
        return {"environment": NAME, "profile": profile.name, "ready": True, "there": {}, "missing": []}


class ToyProposer:
    """Another number, on the start."""

    def propose(self, request: Request) -> Proposal:
        return Proposal(f"Rate {request.seed} may be better.", 0, {"model.py": f"RATE = {request.seed}\n"})


@app.task(name="throughput.noop")
def noop(left: int, marker: str) -> None:
    """A message that sends the next one; the last one leaves a file."""
    if left:
        noop.apply_async(args=(left - 1, marker), queue="default")
    else:
        Path(marker).touch()


register(Toy())
PROPOSERS["toy"] = "benchmarks.throughput_toy.ToyProposer"
