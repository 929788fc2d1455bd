"""A made-up search, written by the bulk loader that is held equal to the services."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import make_campaign
from tests.trials.test_bulk import plan
from trials import synthetic
from trials.models import Campaign
from trials.services import bulk

TRIALS = 300


def made_up(trials: int = TRIALS, **changes: object) -> Campaign:
    campaign = make_campaign(max_trials=100_000, **changes)
    bulk.load(
        campaign.pk,
        synthetic.Search(plan(seed=7, begins=campaign.created_at)),
        trials,
        actor="fill",
        say=lambda done: None,
    )
    campaign.refresh_from_db()
    return campaign


@pytest.fixture
def search(db: None) -> Campaign:
    return made_up()


@pytest.fixture
def viewer(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_user("viewer"))
    return client
