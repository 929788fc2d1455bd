"""A campaign that starts from a keep of another one, and reads what was known there by its own policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from evaluators.preflight import read_recipe
from evaluators.registry import ENVIRONMENTS
from specialists.launch import LaunchError, LaunchSettings, launch_campaign
from tests.factories import finish, make_campaign, order_of, run_trial, start
from trials.lineage import build_slice
from trials.models import Campaign, Event, Trial
from trials.services.blobs import get_tree
from trials.services.reports import current_report
from trials.vocab import CampaignState

pytestmark = pytest.mark.django_db
RECIPE = read_recipe(ENVIRONMENTS["parameter_golf"].spec, "smoke")
FIRST = LaunchSettings(environment="parameter_golf", profile="smoke", name="second", start_from="toy-search")


def edited(line: str) -> dict[str, bytes]:
    return {**RECIPE, "loss.py": RECIPE["loss.py"] + f"\n# {line}\n".encode()}


@pytest.fixture
def first() -> Campaign:
    """A campaign with two keeps and a discard, at an end."""
    campaign = make_campaign(roles=[])
    run_trial(campaign, 2.0, parent=None, files=RECIPE)
    run_trial(campaign, 1.9, files=edited("one"), role="loss", hypothesis="A smoother loss.")
    run_trial(campaign, 1.95, files=edited("two"), role="meta", hypothesis="A wider model.")
    run_trial(campaign, 1.8, parent=1, files=edited("three"), role="tokenizer", hypothesis="Fewer tokens.")
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.FINISHED)
    campaign.refresh_from_db()
    return campaign


def launched(first: Campaign, **changes: object) -> Campaign:
    """The second campaign with its start measured."""
    campaign = launch_campaign(replace(FIRST, **changes), actor="test")  # type: ignore[arg-type]
    finish(start(Trial.objects.get(campaign=campaign, number=0)), 1.8)
    campaign.refresh_from_db()
    return campaign


def test_the_best_of_another_campaign_is_the_start_and_recorded(first: Campaign, admin_client: Client) -> None:
    campaign = launched(first)
    begun = Trial.objects.get(campaign=campaign, number=0)
    assert get_tree(begun.source_id or "") == edited("three") and begun.label == "baseline"
    assert begun.hypothesis == "Trial 3 of toy-search, unchanged."
    assert order_of(begun).split == "validation"
    origin = {"campaign": "toy-search", "trial": 3, "score": 1.8, "source": begun.source_id, "up_to": 3}
    assert campaign.origin == origin == current_report(campaign)["origin"]
    event = Event.objects.get(campaign=campaign, kind="campaign_launched")
    assert event.payload["origin"] == origin
    page = admin_client.get(campaign.get_absolute_url()).content.decode()
    assert '<a href="/campaigns/toy-search/trials/3/">trial 3 of toy-search</a>' in page


def test_any_keep_may_be_named(first: Campaign) -> None:
    campaign = launch_campaign(replace(FIRST, start_from="toy-search:1"), actor="test")
    assert get_tree(Trial.objects.get(campaign=campaign).source_id or "") == edited("one")


@pytest.mark.parametrize("policy", ["shared", "own-role", "none"])
def test_what_was_known_there_is_read_by_the_policy_here(first: Campaign, policy: str) -> None:
    campaign = launched(first, lineage=policy)
    view = build_slice(campaign, "loss")
    told = {"A smoother loss.": policy != "none", "A wider model.": policy == "shared", "toy-search": policy != "none"}
    assert {words: words in view.text() for words in told} == told
    assert [entry.number for entry in view.entries()] == [0]
    first.refresh_from_db()
    assert first.lineage == "shared"


def test_what_is_found_there_later_is_not_read(first: Campaign) -> None:
    campaign = launched(first)
    Campaign.objects.filter(pk=first.pk).update(state=CampaignState.RUNNING)
    run_trial(first, 1.7, files=edited("late"), role="loss", hypothesis="Found too late.")
    assert "Found too late." not in build_slice(campaign, "loss").text()


WRONG = [
    ("nowhere", "'nowhere' is unknown, expected one of tiny, toy-search"),
    ("elsewhere", "'elsewhere' is a campaign of nanochat_d12, expected one of tiny, toy-search"),
    ("toy-search:2", "trial 2 of toy-search is no keep, expected one of 3, 1, 0"),
    ("toy-search:last", "'last' is no trial number, expected SLUG or SLUG:TRIAL"),
    ("unmeasured", "unmeasured has no best trial yet"),
    ("tiny", "trial 0 of tiny cannot start here: architecture.py is missing, expected 11 files"),
]


@pytest.mark.parametrize("named,message", WRONG)
def test_a_start_that_cannot_be_used_is_told_in_one_line(first: Campaign, named: str, message: str) -> None:
    make_campaign(name="Elsewhere", environment="nanochat_d12")
    make_campaign(name="Unmeasured")
    run_trial(make_campaign(name="Tiny"), 2.0, parent=None)
    with pytest.raises(CommandError, match=f"start_from: {message}"):
        call_command("launch", "parameter_golf", profile="smoke", start_from=named)
    assert Campaign.objects.count() == 4


def test_a_search_that_is_to_repeat_itself_starts_from_one_that_has_ended(first: Campaign) -> None:
    Campaign.objects.filter(pk=first.pk).update(state=CampaignState.RUNNING)
    with pytest.raises(LaunchError, match="toy-search is still running, expected one that has ended"):
        launch_campaign(replace(FIRST, reproducible=True), actor="test")
