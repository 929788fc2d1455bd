"""``manage.py remeasure --wait`` on a search that has ended, with workers and sandboxes of its own."""

from __future__ import annotations

import json

import pytest
from django.conf import settings
from django.core.management import call_command

from autoresearch_site.management.commands.launch import wait_for
from autoresearch_site.stack import Stack
from specialists.launch import LaunchSettings, launch_campaign
from tests.conftest import process_environment
from trials.models import Campaign, Measurement
from trials.vocab import Purpose


@pytest.mark.django_db(transaction=True)
def test_a_trial_of_a_search_that_has_ended_is_measured_on_a_fresh_seed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", process_environment()["DATABASE_URL"])
    chosen = LaunchSettings("parameter_golf", profile="smoke", trials=1, keep_rule="strict", seed=3)
    with Stack(settings.DATA_DIR, web=False) as stack:
        campaign = wait_for(launch_campaign(chosen, actor="test"), stack)
        call_command("remeasure", campaign.slug, "0", "--seeds", "1", "--wait", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (campaign.state, told["open"], told["seeds"]) == ("finished", 0, 1)
    [again] = Measurement.objects.filter(campaign=campaign, purpose=Purpose.REMEASURE)
    assert told["mean"] == again.score == told["measured"][0]["score"]
    assert again.seed != campaign.seed and again.score != told["recorded"] == campaign.start_score
    assert Campaign.objects.get(pk=campaign.pk).best_score == campaign.best_score
