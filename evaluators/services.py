"""Claim, measure, post (on an evaluator host); judge and record (on the site). The one file here that writes."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import close_old_connections, connections

from evaluators import devices, fit, preflight
from evaluators.announce import WANTED_LEVEL, capability, worker_name
from evaluators.contract import Cancelled, HarnessFault, Measurement, Progress
from evaluators.recording import as_record
from evaluators.registry import get_environment
from evaluators.version import code_version
from trials import clock
from trials.logcontext import about, thread
from trials.models import Campaign, Confirmation, Evaluation
from trials.patience import until_answered
from trials.services import leases, outcomes, remeasures, repeats, shares
from trials.services.blobs import get_tree
from trials.services.verdicts import Verdict
from trials.statements import columns, instance, instances, rows
from trials.vocab import EvaluationState, KeepRule, Label, Purpose
from trials.worker_models import Worker

logger = logging.getLogger(__name__)
WAIT_IS_ODD = timedelta(seconds=5)
EXPLAINED_AT_ONCE = 200


def evaluate(evaluation_id: int) -> int | None:
    """Take one work order through its measurement; returns the campaign to judge, None when there was nothing to do.

    A message is a ticket for one measurement on its device; whose turn it is now decides which order is measured.
    """
    order = _order(evaluation_id)
    if order is None:
        return None
    if order.evaluation.state == EvaluationState.QUEUED:
        _say_if_unfit(order)
    return _measure_next(order)


class _Order(NamedTuple):
    """A work order as it was read, with the number of its trial."""

    evaluation: Evaluation
    number: int

    def named(self) -> AbstractContextManager[None]:
        """Log lines say which work order of which trial they are about."""
        one = self.evaluation
        return about(campaign=one.campaign.slug, trial=self.number, evaluation=one.pk)


_ORDER = f"""
SELECT {columns(Evaluation)}, {columns(Campaign)}, trials_trial.number
  FROM trials_evaluation JOIN trials_campaign ON trials_campaign.id = trials_evaluation.campaign_id
  JOIN trials_trial ON trials_trial.id = trials_evaluation.trial_id
 WHERE trials_evaluation.id = %s
"""  # noqa: S608 - names of columns


def _order(evaluation_id: int) -> _Order | None:
    found = rows(_ORDER, [evaluation_id])
    if not found:
        return None
    order, order.campaign = instances(found[0], Evaluation, Campaign)
    return _Order(order, found[0][-1])


def _say_if_unfit(order: _Order) -> None:
    pk, unfit = order.evaluation.pk, why_unfit(order.evaluation)
    if unfit:
        with order.named():
            logger.error("evaluation %s waits: %s", pk, unfit)
            leases.explain_wait(pk, unfit)


def _measure_next(ticket: _Order) -> int | None:
    """Measure the work order whose turn it is. Read anew where another process was faster."""
    mine = ticket.evaluation.pk
    while True:
        for chance in shares.waiting(ticket.evaluation.device, mine):
            order = ticket if chance.order == mine else _order(chance.order)
            if order is None or why_unfit(order.evaluation):
                continue
            try:
                with order.named():
                    return _hold_and_measure(order.evaluation, chance)
            except devices.Unavailable as reason:
                leases.put_off(chance.order, str(reason))
            except _Overtaken:
                break
        else:
            return None


class _Overtaken(Exception):
    """Somebody else has the order, or took another of its campaign, so that it may be another campaign's turn."""


def _hold_and_measure(order: Evaluation, chance: shares.Chance) -> int | None:
    """Claim, measure, post; what is measured on is held meanwhile. Raises devices.Unavailable, _Overtaken."""
    evaluation_id: int = order.pk
    with devices.hold(order.device, _needs(order.campaign).devices):
        evaluation = leases.claim_evaluation(evaluation_id, worker_name(), chance)
        if evaluation is None:
            raise _Overtaken
        return _measured(evaluation)


def _measured(evaluation: Evaluation) -> int | None:
    """Measure what is claimed and post it."""
    evaluation_id: int = evaluation.pk
    with Heartbeat(evaluation) as beat:
        try:
            measurement = measure(evaluation, beat)
        except Cancelled:
            return None
        except (HarnessFault, OSError, MemoryError) as fault:
            logger.exception("evaluation %s failed for reasons of our own", evaluation_id)
            why = f"{type(fault).__name__}: {fault}"
            until_answered(
                lambda: leases.give_back(evaluation.pk, evaluation.attempt, why), f"giving back {evaluation_id}"
            )
            return evaluation.campaign_id
        # Beating goes on meanwhile: an hour's measurement is not lost to a database that is away for a minute.
        body = as_record(measurement) | {"worker_version": code_version()}
        until_answered(
            lambda: leases.post_measurement(evaluation.pk, evaluation.attempt, body, measurement.log),
            f"posting {evaluation_id}",
        )
    return evaluation.campaign_id


def heartbeat_seconds() -> float:
    """A lease outlasts several heartbeats that are lost."""
    return min(2.0, settings.LEASE_SECONDS / 8)


def why_unfit(order: Evaluation) -> str:
    """Why this process may not measure the order, empty when it may."""
    needs = _needs(order.campaign)
    try:
        mine = capability(order.device)
    except devices.Unavailable as reason:
        return f"{worker_name()}: {reason}"
    unfit = fit.misfit(mine, needs)
    return f"{unfit}: {mine.details['isolation']['why_lower']}" if unfit and mine.level < needs.level else unfit


def _needs(campaign: Campaign) -> fit.Needs:
    return fit.needs_of(campaign.spec["profile"], campaign.minimum_level)


def explain_waits(campaign: Campaign) -> None:
    """Say on every trial that waits for long why no worker takes it, and take it back when one could."""
    now = clock.now()
    waiting = Evaluation.objects.filter(
        campaign=campaign, state=EvaluationState.QUEUED, queued_at__lt=now - WAIT_IS_ODD
    )
    if not waiting.exists():
        return
    reason = fit.why_waiting(list(Worker.objects.alive(now)), _needs(campaign))[: leases.REASON_LENGTH]
    if not reason:  # somebody fits: what that worker has said itself stands until it takes the trial
        waiting = waiting.exclude(fault__startswith=devices.BUSY)
    for pk in waiting.exclude(fault=reason).values_list("pk", flat=True)[:EXPLAINED_AT_ONCE]:
        leases.explain_wait(pk, reason)


def measure(evaluation: Evaluation, beat: Heartbeat) -> Measurement:
    """Preflight, then the environment's protocol in sandboxes."""
    campaign, trial = evaluation.campaign, evaluation.trial
    environment = get_environment(campaign.environment)
    profile = environment.spec.profiles[campaign.profile]
    source = get_tree(trial.tree_sha256)
    parent = None if trial.parent is None else get_tree(trial.parent.tree_sha256)
    beat.report(Progress("preflight", 0.0))
    refused = preflight.check(environment.spec, source, parent=parent, surface=campaign.may_change(trial.surface))
    if refused is not None:
        return preflight.measurement(refused, environment.spec, seed=evaluation.seed, split=evaluation.split)
    return environment.measure(
        source,
        profile=profile,
        seed=evaluation.seed,
        split=evaluation.split,
        level=WANTED_LEVEL,
        report=beat.report,
    )


class Heartbeat:
    """Renews the lease from a thread of its own while a measurement runs, whatever the recipe does meanwhile."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation_id, self._attempt = evaluation.pk, evaluation.attempt
        self._latest = Progress("claimed", 0.0)
        self._lost = threading.Event()
        self._done = threading.Event()
        self._thread = thread(self._run, f"heartbeat-{evaluation.pk}")

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def report(self, progress: Progress) -> None:
        """Remember how far the measurement is. Raises Cancelled once the lease is lost."""
        self._latest = progress
        if self._lost.is_set():
            raise Cancelled(f"evaluation {self._evaluation_id} lost its lease")

    def _run(self) -> None:
        try:
            while not self._done.wait(heartbeat_seconds()):
                self._beat()
        finally:
            connections.close_all()  # of this thread; mostly there is none

    def _beat(self) -> None:
        latest = self._latest
        try:
            tail = latest.tail().decode("utf-8", "replace")
            held = leases.heartbeat(
                self._evaluation_id, self._attempt, phase=latest.phase, progress=latest.fraction, tail=tail
            )
        except Exception:  # a database that is away for a moment is no reason to drop a measurement
            logger.exception("heartbeat of evaluation %s failed", self._evaluation_id)
            close_old_connections()
            return
        if not held:
            self._lost.set()


def judge_measured(campaign_id: int) -> int:
    """Judge and record every measurement that waits; returns how many were recorded.

    A reproducible campaign records trials in number order, and none before the last one is decided, so that labels do
    not depend on which worker was faster.
    """
    recorded = 0
    while waiting := rows(_WAITING, [campaign_id]):
        done = [_recorded(*order) for order in waiting]
        recorded += sum(done)
        if all(done) or not any(done):
            break  # else what was held back may be next now
    return recorded


_WAITING = f"""
SELECT one.id, one.purpose, trial.number, measured.body, {columns(Campaign)}
  FROM trials_evaluation AS one JOIN trials_trial AS trial ON trial.id = one.trial_id
  JOIN trials_measurement AS measured ON measured.evaluation_id = one.id
  JOIN trials_campaign ON trials_campaign.id = one.campaign_id
 WHERE one.campaign_id = %s AND one.state = '{EvaluationState.MEASURED}' ORDER BY trial.number, one.id
"""  # noqa: S608 - words of this program


def _recorded(evaluation_id: int, purpose: str, number: int, body: str, *of_campaign: Any) -> bool:
    campaign = instance(Campaign, of_campaign)
    with about(campaign=campaign.slug, trial=number, evaluation=evaluation_id):
        return _record(campaign, evaluation_id, purpose, number, body)


def _record(campaign: Campaign, evaluation_id: int, purpose: str, number: int, body: str) -> bool:
    """False where there is nothing to record, or not yet."""
    if purpose == Purpose.SEALED:
        return outcomes.record_sealed(evaluation_id)
    if purpose == Purpose.TRIAL and _held_back(campaign, number):
        return False
    verdict = judge(campaign, json.loads(body))
    if purpose == Purpose.TRIAL:
        return outcomes.record_outcome(evaluation_id, verdict) is not None
    if purpose == Purpose.REMEASURE:
        return remeasures.record(evaluation_id, verdict)
    return repeats.record(evaluation_id, verdict)


def _held_back(campaign: Campaign, number: int) -> bool:
    """A trial waits until the noise is known, and in a reproducible campaign for its turn."""
    if number > 0 and campaign.keep_rule == KeepRule.VERIFIED and campaign.noise_sd is None:
        return True
    if not campaign.reproducible:
        return False
    return number != campaign.recorded_number + 1 or Confirmation.objects.open(campaign.pk).exists()


def judge(campaign: Campaign, record: Mapping[str, Any]) -> Verdict:
    """The environment's pure judge on a stored measurement."""
    if record["status"] == Label.HARNESS_ABORT:  # no evaluator saw anything: there is nothing to judge
        return Verdict(Label.HARNESS_ABORT, record["reason"], None)
    environment = get_environment(campaign.environment)
    known = {name: record[name] for name in Measurement.__dataclass_fields__ if name in record}
    outcome = environment.judge(Measurement(**known), environment.spec.profiles[campaign.profile])
    return Verdict(label=str(outcome.label), reason=outcome.reason, score=outcome.score, numbers=dict(outcome.numbers))
