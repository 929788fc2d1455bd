"""A reproducible search by the rule ``verified`` repeats itself, whoever is faster: real loop, sessions, judge and
record; only the measuring is made up."""

from __future__ import annotations

import random
from typing import Any

import pytest

from evaluators.services import judge_measured
from specialists import services
from specialists.launch import LaunchSettings, launch_campaign
from specialists.models import Session
from specialists.vocab import SessionState
from tests.factories import record
from tests.trials.test_confirmations import books_are_right
from trials.models import Campaign, Confirmation, Evaluation, Trial
from trials.services import leases
from trials.vocab import LIVE_CAMPAIGN_STATES, EvaluationState, Ruling

pytestmark = pytest.mark.django_db(transaction=True)
NOISE, EFFECT = 0.02, 0.04


def made_up(order: Evaluation) -> float:
    """A score that depends on source and seed alone: what the edit is worth, and noise."""
    worth = 0.0 if order.trial.number == 0 else random.Random(order.trial.source_id).gauss(0, EFFECT)
    return 2.6 + worth + random.Random(f"{order.trial.source_id}{order.seed}{order.split}").gauss(0, NOISE)


def measure(order: Evaluation) -> None:
    claimed = leases.claim_evaluation(order.pk, "host:1")
    if claimed is not None:
        body = record(made_up(claimed), seed=order.seed, split=order.split)
        leases.post_measurement(order.pk, claimed.attempt, body, b"")


def searched(order_of_work: int, **changes: Any) -> Campaign:
    """A search to its end; ``order_of_work`` seeds who is faster, worker or session, at every step."""
    values = {"environment": "parameter_golf", "profile": "smoke", "trials": 9, "slots": 3, "reproducible": True}
    campaign = launch_campaign(LaunchSettings(**values | changes, name=f"order {order_of_work}"), actor="test")
    chance = random.Random(order_of_work)
    services.advance(campaign.pk)
    for _ in range(1000):
        campaign.refresh_from_db()
        if campaign.state not in LIVE_CAMPAIGN_STATES:
            return campaign
        held = Evaluation.objects.filter(campaign=campaign, state=EvaluationState.QUEUED).order_by("pk")
        sessions = Session.objects.filter(campaign=campaign, state=SessionState.RUNNING).order_by("pk")
        waiting: list[Any] = [*held.select_related("trial"), *sessions]
        assert len(waiting) <= campaign.slots or campaign.state == "finalising"
        assert waiting, "nothing is under way"
        chosen = chance.choice(waiting)
        if isinstance(chosen, Session):
            services.run_session(chosen.pk)
        else:
            measure(chosen)
        if chance.random() < 0.7:  # the judge comes late now and then
            judge_measured(campaign.pk)
        services.tick()
    raise AssertionError("the search did not end")


def trajectory(campaign: Campaign) -> list[Any]:
    trials = Trial.objects.of(campaign.pk).order_by("number")
    decisions = Confirmation.objects.filter(campaign=campaign).order_by("pk")
    return [
        *trials.values_list("number", "role", "parent__number", "source_id", "lineage_view_id", "standing", "score"),
        *decisions.values_list("trial__number", "incumbent__number", "pairs", "z", "bound", "ruling"),
        (campaign.noise_sd, campaign.noise_df, campaign.start_score, campaign.best_score),
    ]


def test_a_reproducible_search_repeats_itself_whoever_is_faster() -> None:
    first, second = searched(1), searched(2)
    assert trajectory(first) == trajectory(second)
    for campaign in (first, second):
        assert (campaign.state, campaign.trial_count) == ("finished", 9)
        assert books_are_right(campaign)
    rulings = set(Confirmation.objects.values_list("ruling", flat=True))
    assert Ruling.CONFIRMED in rulings and rulings <= {Ruling.CONFIRMED, Ruling.REFUTED}


def test_a_search_by_the_freshest_evidence_ends_with_every_confirmation_decided() -> None:
    campaign = searched(3, reproducible=False, slots=4, seed=5)
    assert (campaign.state, campaign.trial_count) == ("finished", 9)
    assert not Confirmation.objects.filter(ruling="").exists() and books_are_right(campaign)
    sealed = Evaluation.objects.filter(campaign=campaign, purpose="sealed")
    last = Confirmation.objects.order_by("-closed_at").first()
    assert last is not None and last.closed_at is not None
    assert last.closed_at < sealed.order_by("queued_at").first().queued_at
