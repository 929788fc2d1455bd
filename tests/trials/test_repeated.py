"""No repeats: identical sources are refused with what became of the first; near-duplicate hypotheses are found."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_campaign, run_trial, submit
from trials.models import Campaign
from trials.repeated import SHOWN, similar
from trials.services.blobs import get_tree
from trials.services.submissions import DuplicateSource
from trials.vocab import Label

pytestmark = pytest.mark.django_db
IDEA = "Replace the GELU activation by squared ReLU in every feed-forward block, width 256."
AGAIN = "In each feed-forward block of width 256, the GELU activation is replaced by a squared ReLU."
OTHER = "A warm-up of 200 steps before the cosine schedule lowers the early loss spikes."


def searched(**changes: object) -> Campaign:
    campaign = make_campaign(**{"max_trials": 5000} | changes)
    run_trial(campaign, 2.0, parent=None)
    run_trial(campaign, 1.9, hypothesis=IDEA, role="architecture")
    run_trial(campaign, 2.1, hypothesis=OTHER, role="optimization")
    campaign.refresh_from_db()
    return campaign


def test_a_near_duplicate_is_found_with_what_became_of_it() -> None:
    campaign = searched()
    [found] = similar(campaign, "optimization", AGAIN)
    assert (found.number, found.role, found.standing, found.score) == (1, "architecture", "keep", 1.9)
    assert found.fate == "ended as keep, -0.100000 against its parent" and found.likeness >= 0.7
    assert similar(campaign, "optimization", "Int6 weights with lzma shrink the artifact.") == []
    assert similar(campaign, "optimization", "it is better") == []


def test_failures_say_why() -> None:
    campaign = searched()
    run_trial(campaign, None, Label.SIZE_BLOCKED, hypothesis=OTHER + " Twice.", reason="2,056 bytes over")
    fates = [earlier.fate for earlier in similar(campaign, "loss", OTHER)]
    assert fates == [
        "ended as discard, +0.100000 against its parent",
        "ended as size_blocked: 2,056 bytes over",
    ]


def test_nobody_sees_more_than_the_lineage_policy_and_the_revealed_numbers_allow() -> None:
    assert similar(searched(lineage="none", name="n"), "architecture", AGAIN) == []
    own = searched(lineage="own-role", name="o")
    assert similar(own, "optimization", AGAIN) == [] != similar(own, "architecture", AGAIN)
    campaign = searched(name="s")
    assert similar(campaign, "loss", OTHER, up_to=1) == [] != similar(campaign, "loss", OTHER, up_to=2)


def test_infrastructure_failures_are_no_evidence() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None)
    run_trial(campaign, None, Label.HARNESS_ABORT, hypothesis=IDEA)
    assert similar(campaign, "architecture", AGAIN) == []


def test_the_look_up_costs_the_same_however_often_an_idea_came_back() -> None:
    campaign = searched()
    with CaptureQueriesContext(connection) as few:
        similar(campaign, "loss", IDEA)
    for turn in range(40):
        run_trial(campaign, 2.0 + turn / 1000, hypothesis=IDEA)
    with CaptureQueriesContext(connection) as many:
        found = similar(campaign, "loss", IDEA)
    assert len(found) == SHOWN and [earlier.number for earlier in found] == list(range(42, 42 - SHOWN, -1))
    assert len(many) == len(few)


def test_an_identical_source_is_refused_with_what_became_of_the_first() -> None:
    campaign = searched()
    first = campaign.trials.get(number=2)
    with pytest.raises(DuplicateSource) as refused:
        submit(campaign, files=get_tree(first.source_id))
    told = "the source is identical to that of trial 2, which ended as discard, +0.100000 against its parent"
    assert str(refused.value) == told and refused.value.number == 2
