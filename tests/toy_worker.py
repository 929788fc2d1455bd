"""Workers of the real site with an environment that measures for as long as the source says and does nothing.

``celery -A tests.toy_worker worker``: all else is the site's own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
from trials.vocab import VALID, Direction  # noqa: E402

__all__ = ["NAME", "app", "files"]

NAME = "toy_waiting"
LIMITS = Limits(train_seconds=60, eval_seconds=60, memory_bytes=1 << 28)


def files(seconds: float, number: int) -> dict[str, bytes]:
    """A source that is measured for so long."""
    return {"model.py": f"SECONDS = {seconds}\nNUMBER = {number}\n".encode(), "train.py": b"import model\n"}


class Waiting:
    """Waits, and says every 50 ms that it is still there."""

    spec = EnvironmentSpec(
        name=NAME,
        title="A toy that waits",
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
        said = re.search(rb"SECONDS = ([0-9.]+)", source["model.py"])
        assert said is not None
        begun, wanted = time.monotonic(), float(said[1])
        while (gone := time.monotonic() - begun) < wanted:
            report(Progress("train", gone / wanted))
            time.sleep(min(0.05, wanted - gone))
        isolation = {"level": level, "wanted": level, "why_lower": "", "backend": "none", "details": {}}
        return Measurement("ok", "", seed, split, score=1.0, isolation=isolation)

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        return Outcome(VALID, "", measurement.score, {})

    def prepare(self, profile: Profile) -> dict[str, Any]:
        return {"environment": NAME, "profile": profile.name, "ready": True, "there": {}, "missing": []}


register(Waiting())
