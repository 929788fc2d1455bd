"""Submitting a trial, and ordering further measurements of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from trials import ancestry, clock, confirm, sketch
from trials.canonical import sha256_bytes
from trials.commits import after_commit
from trials.models import Campaign, Confirmation, Evaluation, Trial
from trials.services import approvals, confirmations, words
from trials.services.blobs import put_changed, tree_manifest, tree_sha256
from trials.services.events import append_event
from trials.services.rows import insert, insertable, insertion, written
from trials.services.rows import values as values_of
from trials.standing import fate
from trials.statements import change, columns, instances, one_of, rows
from trials.vocab import OPEN_TRIAL_STATES, CampaignState, EventKind, KeepRule, Purpose, Subject

Enqueue = Callable[[int], object]

#: The parent; trials without an outcome; the one that has this source; the skip of the parent's skip.
_KNOWN = f"""
SELECT {columns(Trial, "parent")},
       (SELECT count(*) FROM trials_trial WHERE campaign_id = %(campaign)s AND state IN {one_of(OPEN_TRIAL_STATES)}),
       (SELECT number FROM trials_trial
         WHERE campaign_id = %(campaign)s AND source_id = %(source)s AND twin_of_id IS NULL),
       (SELECT skip FROM trials_trial WHERE campaign_id = %(campaign)s AND number = parent.skip)
  FROM (SELECT) AS one LEFT JOIN trials_trial AS parent ON campaign_id = %(campaign)s AND number = %(parent)s::int
"""  # noqa: S608 - words of this program
_INDEX = """
INSERT INTO trials_hypothesiskey (campaign_id, key, number)
SELECT %s, key, %s FROM unnest(%s::bigint[]) AS found(key)
"""
_SUBMIT = f"""
WITH trial AS ({insertion(Trial)} RETURNING id), keys AS ({_INDEX}), words AS ({words.OF_NEW})
{insertion(Evaluation, trial="(SELECT id FROM trial)")} RETURNING id, trial_id
"""  # noqa: S608 - names of columns
_ORDERED = tuple(name for name in insertable(Evaluation) if name != "trial")
_SAME = "SELECT number FROM trials_trial WHERE campaign_id = %s AND source_id = %s AND twin_of_id IS NULL"


class DuplicateSource(ValueError):
    """The same source tree was submitted before in this campaign; ``number`` is that trial, ``fate`` its end."""

    def __init__(self, number: int, fate: str) -> None:
        super().__init__(f"the source is identical to that of trial {number}, which {fate}")
        self.number, self.fate = number, fate


class NotAccepting(ValueError):
    """The campaign takes no further trial: it is paused, ended or full."""


@dataclass(frozen=True)
class Submission:
    """One proposal as it enters the record. ``parent`` is a trial number, None only for the baseline (number 0).

    crossed: changed files outside ``surface``, where the campaign lets them pass.
    """

    role: str
    hypothesis: str
    files: Mapping[str, bytes]
    diff: str
    lineage_view: str
    parent: int | None
    seed: int
    expected_delta: float | None = None
    proposal: Mapping[str, Any] = field(default_factory=dict)
    surface: Sequence[str] = ()
    crossed: Sequence[str] = ()


def find_source(campaign_id: int, files: Mapping[str, bytes]) -> int | None:
    """Number of the trial of this campaign that has exactly these files, if any."""
    found = rows(_SAME, [campaign_id, tree_sha256(files)])  # one at most: it is unique
    return None if not found else int(found[0][0])


@transaction.atomic
def submit_trial(
    campaign_id: int,
    submission: Submission,
    *,
    actor: str,
    enqueue: Enqueue,
    accepted: Collection[CampaignState] = frozenset({CampaignState.RUNNING}),
) -> Trial:
    """Queue a trial and its evaluation. Raises DuplicateSource and NotAccepting; nothing is written then.

    accepted: states of the campaign in which it takes this trial.
    """
    return submit_to(Campaign.objects.locked(campaign_id), submission, actor=actor, enqueue=enqueue, accepted=accepted)


def submit_to(
    campaign: Campaign,
    submission: Submission,
    *,
    actor: str,
    enqueue: Enqueue,
    accepted: Collection[CampaignState] = frozenset({CampaignState.RUNNING}),
) -> Trial:
    """``submit_trial`` to a campaign that the caller has locked, in the caller's transaction."""
    if campaign.state not in accepted:
        raise NotAccepting(f"campaign {campaign.slug} is {campaign.state}")
    manifest = tree_manifest(submission.files)
    values = {"campaign": campaign.pk, "source": sha256_bytes(manifest), "parent": submission.parent}
    [(*of_parent, waiting, twin, skips_skip)] = rows(_KNOWN, values)
    if submission.parent is not None:
        _check_room(campaign, campaign.trial_count + waiting)
    if twin is not None:
        raise DuplicateSource(twin, fate(Trial.objects.of(campaign.pk).get(number=twin)))
    (parent,) = instances(of_parent, Trial)
    if parent is None and submission.parent is not None:
        raise Trial.DoesNotExist(f"campaign {campaign.slug} has no trial {submission.parent}")
    if parent is not None and (why := approvals.no_base(campaign, parent)):
        raise NotAccepting(why)
    campaign.last_number += 1
    texts = [manifest, submission.diff.encode(), submission.lineage_view.encode()]
    source, diff, view = put_changed(submission.files, None if parent is None else parent.tree_sha256, texts)
    now = campaign.held_since
    trial = Trial(
        campaign=campaign,
        number=campaign.last_number,
        role=submission.role,
        parent=parent,
        depth=0 if parent is None else parent.depth + 1,
        skip=None if parent is None else ancestry.skip_number(parent.number, parent.depth, skips_skip),
        hypothesis=submission.hypothesis,
        expected_delta=submission.expected_delta,
        proposal={**submission.proposal, **({"crossed": list(submission.crossed)} if submission.crossed else {})},
        surface=list(submission.surface),
        source_id=source,
        diff_id=diff,
        lineage_view_id=view,
        seed=submission.seed,
        submitted_at=now,
    )
    evaluation = _work_order(trial, Purpose.TRIAL, "validation", submission.seed, now)
    asked = [*values_of(trial), *_key_values(trial), trial.hypothesis, *values_of(evaluation, _ORDERED)]
    [(evaluation.pk, trial.pk)] = rows(_SUBMIT, asked)
    written(trial)
    evaluation.trial_id = trial.pk
    written(evaluation)
    append_event(campaign, EventKind.TRIAL_SUBMITTED, actor, submitted_payload(trial, submission), trial, now)
    if submission.crossed:
        campaign.crossing_count += 1
        crossing = {"number": trial.number, "role": trial.role, "files": list(submission.crossed)}
        append_event(campaign, EventKind.BOUNDARY_CROSSED, actor, crossing, trial, now)
    after_commit(enqueue, evaluation.pk)
    return trial


def index_hypotheses(trials: Sequence[Trial]) -> None:
    """Make hypotheses findable by similar ones and by their words.

    Whoever writes trials otherwise than by ``submit_trial`` calls this.
    """
    for trial in trials:
        change(_INDEX, _key_values(trial))
    words.fill(trial.pk for trial in trials)


def _key_values(trial: Trial) -> list[Any]:
    return [trial.campaign_id, trial.number, list(sketch.keys(sketch.words(trial.hypothesis)))]


def _check_room(campaign: Campaign, submitted: int) -> None:
    """Raises NotAccepting where all trials of the campaign are submitted, or all that a person has approved."""
    if submitted >= campaign.max_trials:
        raise NotAccepting(f"campaign {campaign.slug} has its {campaign.max_trials} trials")
    if submitted >= approvals.allowed(campaign).get(Subject.TRIALS, math.inf):
        raise NotAccepting(f"campaign {campaign.slug} has {submitted} trials and asks a person before more")


def submitted_payload(trial: Trial, submission: Submission) -> dict[str, Any]:
    return {
        "number": trial.number,
        "role": trial.role,
        "parent": submission.parent,
        "parent_source": None if trial.parent is None else trial.parent.source_id,
        "depth": trial.depth,
        "submitted_at": trial.submitted_at.isoformat(),
        "hypothesis": trial.hypothesis,
        "expected_delta": trial.expected_delta,
        "proposal": trial.proposal,
        "surface": trial.surface,
        "source": trial.source_id,
        "diff": trial.diff_id,
        "lineage_view": trial.lineage_view_id,
        "seed": trial.seed,
    }


def order_evaluation(
    trial: Trial, purpose: Purpose, split: str, seed: int, confirmation: Confirmation | None = None
) -> Evaluation:
    """Write a work order; the caller holds the campaign's lock and sends it after the commit."""
    evaluation = _work_order(trial, purpose, split, seed, clock.now(), confirmation)
    insert(evaluation)
    return evaluation


def _work_order(
    trial: Trial, purpose: Purpose, split: str, seed: int, now: datetime, confirmation: Confirmation | None = None
) -> Evaluation:
    return Evaluation(
        campaign_id=trial.campaign_id,
        trial=trial,
        purpose=purpose,
        confirmation=confirmation,
        split=split,
        seed=seed,
        device=trial.campaign.spec["profile"]["device"],
        queued_at=now,
        sent_at=now,
    )


@transaction.atomic
def order_sealed(campaign_id: int, *, reason: str, actor: str, enqueue: Enqueue) -> list[Evaluation]:
    """At the end of a search: measure start and best on the sealed split. The campaign becomes ``finalising``.

    By the rule ``verified`` on several seeds that no earlier measurement had, the same for both; by ``strict`` once.
    """
    campaign: Campaign = Campaign.objects.locked(campaign_id)
    if campaign.state != CampaignState.RUNNING:
        raise NotAccepting(f"campaign {campaign.slug} is {campaign.state}")
    start = Trial.objects.get(campaign=campaign, number=0)
    chosen = {trial.pk: trial for trial in (start, campaign.best_trial) if trial is not None}
    seeds = [campaign.seed]
    if campaign.keep_rule == KeepRule.VERIFIED:
        seeds = [confirm.fresh_seed(campaign.seed, "sealed", index) for index in range(confirm.SEALED_SEEDS)]
    confirmations.abandon(campaign)
    orders = [order_evaluation(trial, Purpose.SEALED, "sealed", seed) for seed in seeds for trial in chosen.values()]
    campaign.state, campaign.state_reason = CampaignState.FINALISING, reason[:300]
    payload = {"from": CampaignState.RUNNING, "to": CampaignState.FINALISING, "reason": campaign.state_reason}
    append_event(campaign, EventKind.CAMPAIGN_STATE, actor, payload)
    for order in orders:
        after_commit(enqueue, order.pk)
    return orders
