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
from trials.services.blobs import put_blobs, tree_manifest, tree_sha256
from trials.services.events import append_event
from trials.services.rows import insert
from trials.standing import fate
from trials.statements import change, first, one_of, rows
from trials.vocab import OPEN_TRIAL_STATES, CampaignState, EventKind, KeepRule, Purpose, Subject

Enqueue = Callable[[int], object]

#: Trials without an outcome, and the one that has this source.
_KNOWN = f"""
SELECT (SELECT count(*) FROM trials_trial WHERE campaign_id = %(campaign)s AND state IN {one_of(OPEN_TRIAL_STATES)}),
       (SELECT number FROM trials_trial
         WHERE campaign_id = %(campaign)s AND source_id = %(source)s AND twin_of_id IS NULL)
"""  # noqa: S608 - words of this program
_INDEX = """
INSERT INTO trials_hypothesiskey (campaign_id, key, number)
SELECT %(campaign)s, key, %(number)s FROM unnest(%(keys)s::bigint[]) AS found(key)
"""
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
    [(waiting, twin)] = rows(_KNOWN, {"campaign": campaign.pk, "source": sha256_bytes(manifest)})
    if submission.parent is not None:
        _check_room(campaign, campaign.trial_count + waiting)
    if twin is not None:
        raise DuplicateSource(twin, fate(Trial.objects.of(campaign.pk).get(number=twin)))
    parent = None if submission.parent is None else _numbered(campaign, submission.parent)
    if parent is not None and (why := approvals.no_base(campaign, parent)):
        raise NotAccepting(why)
    campaign.last_number += 1
    texts = [manifest, submission.diff.encode(), submission.lineage_view.encode()]
    *_, source, diff, view = put_blobs([*submission.files.values(), *texts])
    now = clock.now()
    trial = Trial(
        campaign=campaign,
        number=campaign.last_number,
        role=submission.role,
        parent=parent,
        depth=0 if parent is None else parent.depth + 1,
        skip=None if parent is None else _skip(parent),
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
    insert(trial)
    index_hypotheses([trial])
    evaluation = order_evaluation(trial, Purpose.TRIAL, "validation", submission.seed, at=now)
    append_event(campaign, EventKind.TRIAL_SUBMITTED, actor, submitted_payload(trial, submission), trial, now)
    if submission.crossed:
        campaign.crossing_count += 1
        crossing = {"number": trial.number, "role": trial.role, "files": list(submission.crossed)}
        append_event(campaign, EventKind.BOUNDARY_CROSSED, actor, crossing, trial)
    after_commit(enqueue, evaluation.pk)
    return trial


def _skip(parent: Trial) -> int | None:
    """The skip of a child (trials.ancestry); the parent's skip is read only where its own skip is the answer."""
    own = ancestry.skip_number(parent.number, parent.depth, None)
    if own is not None or parent.skip is None:
        return own
    found: int | None = (
        Trial.objects.of(parent.campaign_id).filter(number=parent.skip).values_list("skip", flat=True).get()
    )
    return found


def index_hypotheses(trials: Sequence[Trial]) -> None:
    """Make hypotheses findable by similar ones and by their words.

    Whoever writes trials otherwise than by ``submit_trial`` calls this.
    """
    for trial in trials:
        keys = sketch.keys(sketch.words(trial.hypothesis))
        change(_INDEX, {"campaign": trial.campaign_id, "number": trial.number, "keys": list(keys)})
    words.fill(trial.pk for trial in trials)


def _check_room(campaign: Campaign, submitted: int) -> None:
    """Raises NotAccepting where all trials of the campaign are submitted, or all that a person has approved."""
    if submitted >= campaign.max_trials:
        raise NotAccepting(f"campaign {campaign.slug} has its {campaign.max_trials} trials")
    if submitted >= approvals.allowed(campaign).get(Subject.TRIALS, math.inf):
        raise NotAccepting(f"campaign {campaign.slug} has {submitted} trials and asks a person before more")


def _numbered(campaign: Campaign, number: int) -> Trial:
    found = first(Trial, "WHERE campaign_id = %s AND number = %s", [campaign.pk, number])
    if found is None:
        raise Trial.DoesNotExist(f"campaign {campaign.slug} has no trial {number}")
    return found


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
    trial: Trial,
    purpose: Purpose,
    split: str,
    seed: int,
    confirmation: Confirmation | None = None,
    at: datetime | None = None,
) -> Evaluation:
    """Write a work order, by default of now; the caller holds the campaign's lock and sends it after the commit."""
    now = clock.now() if at is None else at
    evaluation = Evaluation(
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
    insert(evaluation)
    return evaluation


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
