"""Searches at random through the services: whatever a site may have on record when somebody asks for a bundle.

Nothing is measured, but every measurement is judged by its environment's own judge, so that what a verifier derives is
what the site has recorded.
"""

from __future__ import annotations

import contextlib
import random
from typing import Any

from django.utils import timezone

from evaluators.registry import get_environment
from evaluators.services import judge_measured
from specialists.launch import frozen_spec
from specialists.models import Call, Session
from specialists.vocab import Fault, SessionState
from tests.factories import make_campaign, record, submit
from trials.models import Campaign, Evaluation, Trial
from trials.services import campaigns, leases, remeasures, repeats, submissions
from trials.services.blobs import put_blob
from trials.vocab import CampaignState, EvaluationState, Label, TrialState

#: Score of the start, and what is a step to the better.
SCALES = {"parameter_golf": (2.5, -0.03), "nanochat_d12": (0.2, 0.02), "cifar_airbench96": (9.0, -0.2)}
STATUSES = ("crash", "size_blocked", "invalid_result", "rule_violation", "train_budget_overrun")
FILES = ("a.py", "b.py")


class Search:
    """One campaign, moved on by :meth:`step`. The same seed makes the same decisions."""

    def __init__(self, seed: int, environment: str = "parameter_golf", **changes: Any) -> None:
        self.draw, self.environment = random.Random(seed), environment
        spec = frozen_spec(get_environment(environment).spec, "smoke")
        plan = {"name": f"Search {seed}", "environment": environment, "profile": "smoke", "spec": spec, "slots": 4}
        self.pk = make_campaign(**plan | {"seed": seed} | changes).pk
        self._submit(None)

    @property
    def campaign(self) -> Campaign:
        return Campaign.objects.get(pk=self.pk)

    def step(self) -> None:
        """One thing happens."""
        campaign, draw = self.campaign, self.draw
        if campaign.state == CampaignState.PAUSED:
            campaigns.change_state(self.pk, CampaignState.RUNNING, actor="ada", reason="goes on")
        elif campaign.best_trial_id and draw.random() < 0.03:
            campaigns.change_state(self.pk, CampaignState.PAUSED, actor="ada", reason="a look at it")
            return
        if draw.random() < 0.4 and Trial.objects.of(self.pk).open().count() < 4 and campaign.best_trial_id:
            self._submit(draw.choice([campaign.last_number, draw.randrange(campaign.last_number + 1)]))
        repeats.order(self.pk, draw.choice((0, 1, 4)), enqueue=lambda order: None)
        if draw.random() < 0.1:
            self._again()
        waiting = Evaluation.objects.filter(campaign_id=self.pk).unjudged().order_by("pk")
        for order in waiting[: draw.randint(1, 6)]:
            self._work(order)
        if draw.random() < 0.8:
            judge_measured(self.pk)

    def settle(self) -> None:
        """What is in flight is measured and judged."""
        for _ in range(60):
            left = Evaluation.objects.filter(campaign_id=self.pk).unjudged()
            for order in left:
                self._work(order)
            judge_measured(self.pk)
            if not left.exists() and not repeats.order(self.pk, 4, enqueue=lambda order: None):
                return

    def end(self) -> Campaign:
        """Finished with the sealed split, or stopped with something in flight."""
        draw = self.draw
        if self.campaign.state == CampaignState.PAUSED:
            campaigns.change_state(self.pk, CampaignState.RUNNING, actor="ada", reason="")
        if draw.random() < 0.5 and self.campaign.best_trial_id:
            self.settle()
            if self.campaign.state == CampaignState.RUNNING:
                submissions.order_sealed(self.pk, reason="enough", actor="loop", enqueue=lambda order: None)
                self.settle()
                campaigns.change_state(self.pk, CampaignState.FINISHED, actor="loop", reason="enough")
                return self.campaign
        campaigns.change_state(self.pk, CampaignState.STOPPED, actor="ada", reason="stopped by ada")
        return self.campaign

    def _again(self) -> None:
        """Somebody asks for fresh seeds of a trial, or gives up what was asked for."""
        number = self.draw.randrange(self.campaign.last_number + 1)
        with contextlib.suppress(campaigns.WrongState):
            remeasures.order(self.pk, number, self.draw.randint(1, 2), actor="ada", enqueue=lambda order: None)
            if self.draw.random() < 0.3:
                remeasures.cancel(self.pk, number, actor="ada")

    def _submit(self, parent: int | None) -> None:
        draw = self.draw
        campaign = self.campaign
        number = campaign.last_number + 1
        file, role = draw.choice(list(zip(FILES, ("architecture", "optimization"), strict=True)))
        above = {} if parent is None else {"evidence": [parent]}
        trial = submit(
            campaign,
            parent=parent,
            role=role,
            hypothesis=draw.choice(("Ein <b>wärmerer</b> Start\t|", "Another rate", "日本語 ✓ \u2028 end"))
            + f" {number}",
            files={file: f"x = {number}\n".encode() * draw.choice((1, 1, 200)), "recipe.py": b"import a, b\n"},
            surface=(file,),
            crossed=("recipe.py",) if parent and draw.random() < 0.1 else (),
            expected_delta=draw.choice((None, -0.01, 1e-7)),
            proposal={"transforms": ["rate"], "notes": {"lr": draw.choice((1e-05, 3, 0.1, 1e20))}} | above,
        )
        if parent is not None and draw.random() < 0.7:
            self._session(campaign, trial, role)

    def _session(self, campaign: Campaign, trial: Trial, role: str) -> None:
        """An agent's session; one in five came to nothing."""
        draw, now = self.draw, timezone.now()
        lost = draw.random() < 0.2
        session = Session.objects.create(
            campaign=campaign,
            number=Session.objects.filter(campaign=campaign).count() + 1,
            role=role,
            state=SessionState.FAILED if lost else SessionState.SUBMITTED,
            fault=Fault.WORKER if lost else "",
            seed=draw.randrange(2**31),
            lineage_view_id=put_blob(f"view {trial.number}".encode()),
            trial=None if lost else trial,
            note="worker host:3 stopped answering" if lost else "",
            worker="host:3",
            transcript_id=draw.choice((None, put_blob(f'{{"steps":[{trial.number}]}}'.encode()))),
            started_at=now,
            lease_expires_at=now,
            ended_at=now,
        )
        for number in range(draw.choice((0, 0, 2))):
            body = put_blob(f'{{"asked":{trial.number},"turn":{number}}}'.encode())
            Call.objects.create(
                session=session, number=number, model="m", started_at=now, seconds=draw.random(), body_id=body
            )

    def _work(self, order: Evaluation) -> None:
        """An evaluator does one thing to a work order."""
        draw = self.draw
        if order.state == EvaluationState.QUEUED:
            leases.claim_evaluation(order.pk, f"host:{draw.randint(1, 2)}")
        elif order.state == EvaluationState.RUNNING and order.trial.state != TrialState.CANCELLED:
            if draw.random() < 0.08:
                leases.give_back(order.pk, order.attempt, "HarnessFault: the disk is full")
            else:
                log = draw.choice((b"", f"step {order.pk}\n".encode()))
                leases.post_measurement(order.pk, order.attempt, self._reading(order), log)

    def _reading(self, order: Evaluation) -> dict[str, Any]:
        """What an evaluator may have seen."""
        draw = self.draw
        start, better = SCALES[self.environment]
        number = order.trial.number
        status = draw.choice(STATUSES) if number and draw.random() < 0.25 else "ok"
        truth = start + better * random.Random(number).choice((-1, 0, 0.2, 1, 2)) * (number > 0)
        score = truth + better * draw.gauss(0, 0.15) if status == "ok" else None
        correct = draw.choice((480, 700, 900)) if number else 900
        cap = order.campaign.spec["profile"]["limits"]["artifact_bytes"] or 10**6
        return record(
            score,
            status=status,
            reason="" if status == "ok" else f"{status} it was",
            excerpt="" if status == "ok" else "ValueError: x\nrecipe.py:3",
            seed=order.seed,
            split=order.split,
            payload_bytes=cap + 5 if number and draw.random() < 0.1 else cap // 2,
            train_units=draw.choice((1, None)),
            eval_units=1,
            seconds={"preflight": 0.1, "train": draw.random(), "predict": 0.2, "seed_0": 1.0},
            cpu_seconds={"seed_0": draw.choice((1.0, 1.0, 99.0)) if number else 1.0},
            numbers={
                "budget_used": draw.choice((0.5, 0.9, 1.2)) if number else 0.5, "correct": correct, "scored": 1000,
                "train_reference_seconds": 1.0, "cap_reference_seconds": 2.0,
            },
        )  # fmt: skip


def judged_labels(campaign: Campaign) -> set[str]:
    """Labels that the search has seen."""
    return set(Trial.objects.of(campaign.pk).exclude(label="").values_list("label", flat=True)) - {Label.HARNESS_ABORT}
