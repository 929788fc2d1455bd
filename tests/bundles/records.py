"""Campaigns whose labels follow from their measurements: judged by the environment's own judge, by services."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import verify_bundle
from evaluators.registry import get_environment
from evaluators.services import judge
from specialists.models import Call, Session
from specialists.vocab import SessionState
from tests.factories import make_campaign, record, start, submit
from trials.models import Campaign, Trial
from trials.services import campaigns, leases, outcomes, submissions
from trials.services.blobs import put_blob
from trials.services.exports import export_to
from trials.services.keys import adopt_key
from trials.vocab import CampaignState

SPEC = get_environment("parameter_golf").spec.as_json("smoke")


def golf_campaign(**changes: Any) -> Campaign:
    """A running campaign of Parameter Golf without a trial."""
    return make_campaign(**{"name": "Golf", "profile": "smoke", "spec": SPEC} | changes)


def try_one(campaign: Campaign, score: float | None, *, status: str = "ok", **changes: Any) -> Trial:
    """Submit, claim, measure, judge and record one trial. changes: of the submission, and ``log``, ``measured``."""
    log, measured = changes.pop("log", b"step 1 loss 5.0\n"), changes.pop("measured", {})
    order = start(submit(campaign, **changes))
    body = record(score, status=status, **{"train_units": 1, "eval_units": 1} | measured)
    assert leases.post_measurement(order.pk, order.attempt, body, log)
    found = outcomes.record_outcome(order.pk, judge(campaign, body))
    assert found is not None
    return found


def session(campaign: Campaign, trial: Trial) -> Session:
    """An agent session that a trial came of, with one request to a language model."""
    made = Session.objects.create(
        campaign=campaign,
        number=trial.number - 1,
        role=trial.role,
        state=SessionState.SUBMITTED,
        seed=3,
        lineage_view_id=put_blob(f"view of session {trial.number}".encode()),
        trial=trial,
        note="said Ada",
        started_at=trial.submitted_at,
        lease_expires_at=trial.submitted_at,
        ended_at=trial.submitted_at,
    )
    body = put_blob(b'{"said":"view of session 1"}')
    Call.objects.create(
        session=made, number=1, model="m", started_at=made.started_at, seconds=1.5, cost=Decimal("0.25"), body_id=body
    )
    return made


def small_record(**changes: Any) -> Campaign:
    """A finished search with keeps, a discard, failures of several kinds, sealed measurements, one trial cancelled."""
    campaign = golf_campaign(**changes)
    try_one(campaign, 2.5, parent=None)
    session(campaign, try_one(campaign, 2.4, proposal={"transforms": ["warm up"], "notes": {"lr": 1e-05, "big": 1e20}}))
    try_one(campaign, 2.45, parent=1, expected_delta=-0.1)
    try_one(campaign, None, status="crash", parent=1, measured={"excerpt": "ValueError: x\nrecipe.py:3", "reason": "x"})
    try_one(campaign, 2.3, parent=1, role="optimization", measured={"payload_bytes": 10**9})
    try_one(campaign, 2.2, parent=2, role="optimization", hypothesis="Tabs\tand\nlines, <b>é</b> | ✓")
    cut_short = start(submit(campaign, parent=5))
    for order in submissions.order_sealed(campaign.pk, reason="done", actor="loop", enqueue=lambda _: None):
        claimed = leases.claim_evaluation(order.pk, "host:2")
        assert claimed is not None
        body = record(2.6, split="sealed")
        assert leases.post_measurement(order.pk, claimed.attempt, body, b"sealed log")
        assert outcomes.record_sealed(order.pk)
    assert leases.post_measurement(cut_short.pk, cut_short.attempt, record(2.1), b"")
    campaigns.change_state(campaign.pk, CampaignState.FINISHED, actor="lovelace", reason="finished by lovelace")
    return Campaign.objects.get(pk=campaign.pk)


def exported(campaign: Campaign, folder: Path, name: str = "out.zip", profiles: list[str] | None = None) -> Path:
    """The campaign's bundle."""
    export_to(folder / name, campaign.slug, profiles=profiles or [], actor="test")
    return folder / name


def verified(path: Path, **changes: Any) -> dict[str, Any]:
    """What the verifier says, with the site's own key pinned."""
    return verify_bundle.verify(path, **{"keys": [adopt_key("test").public]} | changes)
