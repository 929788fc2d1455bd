"""What happened last, in words: every kind of event has its own, and hostile text in them stays short and flat."""

from __future__ import annotations

import json

import pytest

from tests.factories import make_campaign, run_trial
from trials import telling
from trials.models import Campaign, Event, Trial
from trials.services import campaigns
from trials.telling import told
from trials.vocab import CampaignState, EventKind

pytestmark = pytest.mark.django_db


def line(kind: EventKind, trial: Trial | None = None, **payload: object) -> str:
    return told(Event(kind=kind, body=json.dumps(payload)), trial)


def newest(campaign: Campaign) -> str:
    event = Event.objects.filter(campaign=campaign).select_related("trial", "trial__parent").latest("seq")
    return told(event, event.trial)


def test_a_search_from_launch_to_stop() -> None:
    campaign = make_campaign()
    assert newest(campaign) == "the search begins"
    run_trial(campaign, 2.4, parent=None)
    assert newest(campaign).startswith("trial 0 is measured · baseline · baseline")
    run_trial(campaign, None, "crash", reason="KeyError: 'x'", role="architecture")
    assert newest(campaign) == "trial 1 is measured · architecture · crash: KeyError: 'x'"
    campaigns.change_state(campaign.pk, CampaignState.PAUSED, actor="ada", reason="paused by ada")
    assert newest(campaign) == "the search is paused: paused by ada"
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="ada", reason="")
    assert newest(campaign) == "the search was stopped"


def test_every_kind_has_words_with_and_without_what_it_says() -> None:
    campaign = make_campaign()
    trial = run_trial(campaign, 2.4, parent=None)
    every = {kind: line(kind, trial if kind in telling.OF_TRIALS else None) for kind in EventKind}
    plain = {EventKind.CAMPAIGN_STATE, EventKind.CAMPAIGN_WEIGHT, EventKind.SESSION_STARTED, EventKind.SESSION_ENDED}
    assert {kind for kind, text in every.items() if text == kind.replace("_", " ")} == plain
    assert all(trial is not None and text for text in every.values())
    assert set(telling.STATES) == set(CampaignState)
    assert line(EventKind.CAMPAIGN_WEIGHT, to=300) == "the search now weighs 300 where campaigns share evaluators"
    assert line(EventKind.SESSION_ENDED, session=7, role="weight_decay") == "weight decay ends session 7"
    assert line(EventKind.APPROVAL_ASKED, trial, subject="keep") == "a person is asked whether trial 0 may be kept"


def test_hostile_text_is_cut_and_flat() -> None:
    text = line(EventKind.CAMPAIGN_STATE, to="paused", reason="a\n\u202eb" * 500)
    assert "\n" not in text and "\u202e" not in text and len(text) < 250
