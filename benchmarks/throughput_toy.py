"""Workers with a toy environment, which measures at once and in the worker's own process, and toy proposers.

``celery -A benchmarks.throughput_toy worker``: all else is the site's own.
"""

from __future__ import annotations

import re
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
from specialists import dispatch  # noqa: E402
from specialists.proposals import Proposal, Request  # noqa: E402
from specialists.proposers.registry import PROPOSERS  # noqa: E402
from trials.services import campaigns, submissions  # noqa: E402
from trials.vocab import VALID, Direction  # noqa: E402

__all__ = ["NAME", "app", "launch"]

NAME = "throughput_toy"
FILES = {"model.py": b"RATE = 0\nDEPTH = 0\n", "train.py": b"import model\n"}
LIMITS = Limits(train_seconds=60, eval_seconds=60, memory_bytes=1 << 28)
STEP = 1e-6
_DEPTH = re.compile(rb"DEPTH = (\d+)")


class Toy:
    """A score for every source, at no cost: drawn from [0.5, 1) at depth 0, better than all before at each depth."""

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
        drawn = int.from_bytes(sha256(source["model.py"]).digest()[:6], "big") / 2**49
        found = depth(source["model.py"])
        score = 0.5 - STEP * found if found else 0.5 + drawn
        isolation = {"level": level, "wanted": level, "why_lower": "", "backend": "none", "details": {}}
        return Measurement("ok", "", seed, split, score=score, isolation=isolation)

    def judge(self, measurement: Measurement, profile: Profile) -> Outcome:
        if measurement.score is None:
            return Outcome(measurement.status, measurement.reason, None, {})
        return Outcome(VALID, "", measurement.score, {})

    def prepare(self, profile: Profile) -> dict[str, object]:
        return {"environment": NAME, "profile": profile.name, "ready": True, "there": {}, "missing": []}


class Wide:
    """Another number, on the start."""

    def propose(self, request: Request) -> Proposal:
        return Proposal(f"Rate {request.seed} may be better.", 0, {"model.py": f"RATE = {request.seed}\nDEPTH = 0\n"})


class Deep:
    """One step further than the best, on the best."""

    def propose(self, request: Request) -> Proposal:
        best = request.view.best
        assert best is not None, "the start has been measured"
        step = depth(request.read_source(best.number)["model.py"].encode()) + 1
        files = {"model.py": f"RATE = {request.seed}\nDEPTH = {step}\n"}
        return Proposal(f"Step {step} with rate {request.seed} may be better.", best.number, files)


def depth(model: bytes) -> int:
    """How many steps a source is away from the start."""
    found = _DEPTH.search(model)
    assert found is not None, "written here"
    return int(found[1])


def launch(trials: int, slots: int, proposer: str = "wide", weights: list[int] | None = None) -> list[int]:
    """Launch a campaign for each of the weights, and send their starts; returns primary keys."""
    return [_launch(trials, slots, proposer, weight) for weight in weights or [1]]


def _launch(trials: int, slots: int, proposer: str, weight: int) -> int:
    role = {"surface": ["model.py"], "preamble": "All of it."}
    plan = campaigns.CampaignPlan(
        name=f"{proposer} {weight}", environment=NAME, profile="cpu", spec=Toy.spec.as_json("cpu"), roster="toy",
        roles=[role | {"name": f"generalist_{number}"} for number in range(slots)], proposer=proposer,
        lineage="shared", keep_rule="strict", minimum_level="L2", seed=1, reproducible=False, max_trials=trials,
        max_hours=24.0, slots=slots, no_improvement_hours=24.0,
    )  # fmt: skip
    campaign = campaigns.create_campaign(plan, actor="benchmark", weight=weight)
    start = submissions.Submission("baseline", "The start.", FILES, "", "", None, 0)
    submissions.submit_trial(campaign.pk, start, actor="benchmark", enqueue=dispatch.evaluation(campaign))
    return campaign.pk


register(Toy())
PROPOSERS["wide"], PROPOSERS["deep"] = (f"{__name__}.{name}" for name in ("Wide", "Deep"))
