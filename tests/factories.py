"""Campaigns and trials made through the real services, so that tests read what the site would have written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trials.models import Campaign, Evaluation, Trial
from trials.services import campaigns, leases, outcomes, repeats, submissions
from trials.services.verdicts import Verdict
from trials.vocab import VALID, Purpose

SPEC: dict[str, Any] = {
    "name": "toy",
    "score_name": "val_bpb",
    "score_unit": "bits per byte",
    "direction": "lower",
    "files": ["a.py", "b.py"],
    "joins": ["recipe.py"],
    "profile": {
        "name": "cpu",
        "device": "cpu",
        "limits": {"artifact_bytes": 272_000, "train_units": 600, "eval_units": 60, "memory_bytes": 1 << 30},
    },
}
ROLES = [
    {"name": "architecture", "surface": ["a.py"], "preamble": "Blocks."},
    {"name": "optimization", "surface": ["b.py"], "preamble": "Rates."},
]


def make_campaign(**changes: Any) -> Campaign:
    """A running campaign without a trial."""
    values: dict[str, Any] = {
        "name": "Toy search",
        "environment": "parameter_golf",
        "profile": "cpu",
        "spec": SPEC,
        "roster": "toy",
        "roles": ROLES,
        "proposer": "catalog",
        "lineage": "shared",
        "keep_rule": "strict",
        "minimum_level": "L2",
        "seed": 0,
        "reproducible": False,
        "max_trials": 60,
        "max_hours": 24.0,
        "slots": 2,
        "no_improvement_hours": 4.0,
    }
    return campaigns.create_campaign(campaigns.CampaignPlan(**values | changes), actor="test")


def submit(campaign: Campaign, *, parent: int | None = 0, role: str = "architecture", **changes: Any) -> Trial:
    """A queued trial whose source differs from all others; ``parent=None`` submits the baseline."""
    number = Trial.objects.of(campaign.pk).count()
    values: dict[str, Any] = {
        "role": "baseline" if parent is None else role,
        "hypothesis": f"Idea {number} should help.",
        "files": {"a.py": f"x = {number}\n".encode(), "b.py": b"y = 0\n", "recipe.py": b"import a, b\n"},
        "diff": f"--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 0\n+x = {number}\n",
        "lineage_view": f"role: {role}\nbest: trial {parent}\n",
        "parent": parent,
        "seed": campaign.seed,
        "surface": ("a.py",),
    }
    submission = submissions.Submission(**values | changes)
    return submissions.submit_trial(campaign.pk, submission, actor="test", enqueue=lambda evaluation_id: None)


def order_of(trial: Trial, purpose: Purpose = Purpose.TRIAL) -> Evaluation:
    return Evaluation.objects.get(trial=trial, purpose=purpose)


def record(score: float | None, *, status: str = "ok", **changes: Any) -> dict[str, Any]:
    """A measurement as an evaluator posts it."""
    values: dict[str, Any] = {
        "status": status,
        "reason": "",
        "seed": 0,
        "split": "validation",
        "score": score,
        "secondary": {},
        "numbers": {},
        "code_bytes": 6_500,
        "payload_bytes": 250_000,
        "artifact_sha256": "0" * 64,
        "train_units": 600,
        "eval_units": 20,
        "seconds": {"preflight": 0.1, "train": 8.0, "eval": 2.0, "probe": 1.0},
        "cpu_seconds": {"train": 7.9, "eval": 1.9},
        "isolation": {"level": "L3", "wanted": "L3", "why_lower": "", "backend": "bwrap", "details": {}},
        "fingerprint": {"cpu": "test", "torch": "none"},
        "evaluator_sha256": "1" * 64,
        "data_sha256": {"validation": "2" * 64},
        "score_source": "evaluator",
        "excerpt": "",
    }
    return values | changes


def start(trial: Trial, worker: str = "host:1") -> Evaluation:
    """The trial's work order, claimed."""
    evaluation = leases.claim_evaluation(order_of(trial).pk, worker)
    assert evaluation is not None
    return evaluation


def finish(evaluation: Evaluation, score: float | None = None, label: str = VALID, **changes: Any) -> Trial:
    """A claimed work order, measured and recorded. ``changes``: reason, numbers, log, and fields of the record."""
    reason, numbers = changes.pop("reason", ""), changes.pop("numbers", {})
    log = changes.pop("log", b"step 1 loss 5.0\n")
    status = "ok" if label == VALID else label
    body = record(score, status=status, reason=reason, numbers=numbers, **changes)
    assert leases.post_measurement(evaluation.pk, evaluation.attempt, body, log)
    trial = outcomes.record_outcome(evaluation.pk, Verdict(label, reason, score, numbers))
    assert trial is not None
    return trial


def run_trial(campaign: Campaign, score: float | None = None, label: str = VALID, **changes: Any) -> Trial:
    """Submit, claim, measure and record one trial."""
    outcome = {name: changes.pop(name) for name in ("reason", "numbers", "log", "excerpt") if name in changes}
    return finish(start(submit(campaign, **changes)), score, label, **outcome)


def measure_repeats(campaign: Campaign, scores: Callable[[Evaluation], Any], most: int = 99) -> list[Evaluation]:
    """Order what is wanted and measure it: ``scores`` gives each work order a score, or the label of its failure."""
    repeats.order(campaign.pk, most, enqueue=lambda evaluation_id: None)
    orders = list(Evaluation.objects.repeats_in_flight(campaign.pk).select_related("trial").order_by("pk"))
    for order in orders:
        claimed = leases.claim_evaluation(order.pk, "host:1")
        if claimed is None:  # what was measured before has decided, and this was cancelled
            continue
        answer = scores(order)
        verdict = (
            answer
            if isinstance(answer, Verdict)
            else Verdict(answer, f"{answer} it is", None)
            if isinstance(answer, str)
            else Verdict(VALID, "", answer)
        )
        status = "ok" if verdict.label == VALID else verdict.label
        body = record(verdict.score, status=status, reason=verdict.reason, seed=order.seed)
        assert leases.post_measurement(order.pk, claimed.attempt, body, b"")
        assert repeats.record(order.pk, verdict)
    return orders


#: Scores of the start: mean 2.0, sd 0.01.
CALIBRATION = (2.0, *(2.0 + side * 0.01 * 1.25**0.5 for side in (1, -1, 1, -1)), 2.0)


def calibrated(**changes: Any) -> Campaign:
    """A campaign of the rule ``verified`` whose start is at 2.0 with a noise of 0.01."""
    campaign = make_campaign(**{"keep_rule": "verified", "max_trials": 200, "slots": 4} | changes)
    run_trial(campaign, CALIBRATION[0], parent=None)
    left = iter(CALIBRATION[1:])
    measure_repeats(campaign, lambda order: next(left))
    campaign.refresh_from_db()
    return campaign
