"""The whole way, with nothing replaced: workers, broker, database, sandboxes and the starting recipe at smoke size."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from specialists import launch
from specialists.launch import LaunchSettings, launch_campaign
from specialists.models import Session
from tests.bundles.records import exported, verified
from tests.trials.test_services import chain_is_whole
from trials.models import Approval, Campaign, Evaluation, Measurement, Rollup, Trial
from trials.services.blobs import get_text, get_tree
from trials.services.reports import current_report
from trials.vocab import LIVE_CAMPAIGN_STATES, SCORED_LABELS, Label, Purpose

GIVE_UP_SECONDS = 900


def settings(**changes: Any) -> LaunchSettings:
    values = {"environment": "parameter_golf", "profile": "smoke", "trials": 4, "slots": 2, "seed": 1}
    values["keep_rule"] = "strict"  # the paper's; the campaign with the default is in test_verified.py
    return LaunchSettings(**values | changes)


def wait_until(condition: Callable[[], bool], logs: Path) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            tails = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in logs.glob("*.log"))
            pytest.fail(f"the campaign did not get there\n{tails}")
        time.sleep(0.2)


def ended(campaign: Campaign) -> bool:
    campaign.refresh_from_db()
    return campaign.state not in LIVE_CAMPAIGN_STATES


def trajectory(campaign: Campaign) -> list[tuple[Any, ...]]:
    rows = Trial.objects.of(campaign.pk).order_by("number")
    return list(rows.values_list("number", "role", "parent__number", "source_id", "hypothesis", "label", "score"))


@pytest.mark.django_db(transaction=True)
def test_a_reproducible_campaign_runs_by_itself_and_repeats_itself(workers: Path) -> None:
    first = launch_campaign(settings(name="first", reproducible=True), actor="test")
    second = launch_campaign(settings(name="second", reproducible=True), actor="test")
    wait_until(lambda: ended(first) and ended(second), workers)

    assert (first.state, first.state_reason) == ("finished", "all 4 trials are done")
    assert trajectory(first) == trajectory(second)
    assert [row[0] for row in trajectory(first)] == list(range(5))
    assert chain_is_whole(first)
    sealed = dict(
        Measurement.objects.filter(campaign=first, purpose=Purpose.SEALED).values_list("trial__number", "score")
    )
    assert sealed[0] is not None and first.best_trial is not None and first.best_trial.number in sealed

    trial = Trial.objects.get(campaign=first, number=1)
    assert trial.parent is not None
    parent, source = get_tree(trial.parent.source_id), get_tree(trial.source_id)
    changed = {name for name in source if source[name] != parent[name]}
    assert changed and changed <= set(trial.surface)
    assert all(f"+++ b/{name}" in get_text(trial.diff_id) for name in changed)
    assert "best: trial 0" in get_text(trial.lineage_view_id)
    record = trial.measurements.get(purpose=Purpose.TRIAL).record
    assert record["isolation"]["level"] in {"L2", "L3"} and record["score_source"] == "evaluator"
    assert record["evaluator_sha256"] and record["fingerprint"]
    assert sum(Rollup.objects.filter(campaign=first).values_list("trials", flat=True)) == 5
    assert current_report(first)["trials"] == 4
    report = verified(exported(first, workers))
    assert (report["failures"], report["checked"]["trials"]) == ([], 5)
    assert report["checked"].get("labels taken as recorded", 0) == 0


@pytest.mark.django_db(transaction=True)
def test_two_campaigns_share_the_workers_and_one_is_paused_resumed_and_stopped(workers: Path) -> None:
    steered = launch_campaign(settings(name="steered", trials=40), actor="test")
    beside = launch_campaign(settings(name="beside", trials=1), actor="test")

    def recorded(campaign: Campaign) -> int:
        campaign.refresh_from_db()
        return campaign.trial_count

    wait_until(lambda: recorded(steered) >= 1, workers)
    launch.pause(steered, actor="ada")
    wait_until(lambda: not Trial.objects.of(steered.pk).open().exists(), workers)
    paused_at = recorded(steered)
    wait_until(lambda: ended(beside), workers)
    assert (recorded(steered), steered.state) == (paused_at, "paused")

    launch.resume(steered, actor="ada")
    wait_until(lambda: recorded(steered) > paused_at, workers)
    launch.stop(steered, actor="ada")  # its sessions write their ends
    wait_until(lambda: not Session.objects.filter(campaign=steered, state="running").exists(), workers)
    assert ended(steered) and steered.state == "stopped"
    assert not Trial.objects.of(steered.pk).open().exists()
    assert not Evaluation.objects.filter(campaign=steered).in_flight().exists()
    assert chain_is_whole(steered) and chain_is_whole(beside)


@pytest.mark.django_db(transaction=True)
def test_what_a_lost_message_leaves_behind_goes_on_at_the_next_tick(workers: Path) -> None:
    campaign = launch_campaign(settings(trials=1), actor="test")
    wait_until(lambda: Session.objects.filter(campaign=campaign).exists(), workers)
    Evaluation.objects.filter(state="running").update(lease_expires_at="2000-01-01T00:00Z", attempt=99)
    wait_until(lambda: ended(campaign), workers)
    assert campaign.state == "finished" and campaign.trial_count == 1
    assert chain_is_whole(campaign)


@pytest.mark.django_db(transaction=True)
def test_the_catalogue_searches_every_other_environment(workers: Path) -> None:
    """Two environments at smoke size side by side: one with the paper's five, one with ten alike that own all files."""
    core = launch_campaign(settings(environment="nanochat_d12", trials=3, reproducible=True, name="core"), actor="test")
    chosen = settings(environment="cifar_airbench96", roster="generic-10", trials=4, reproducible=True, name="speed")
    speed = launch_campaign(chosen, actor="test")
    wait_until(lambda: ended(core) and ended(speed), workers)

    assert (core.roster, speed.roster) == ("paper-five-nanochat", "generic-10")
    for campaign in (core, speed):
        assert (campaign.state, campaign.state_reason) == ("finished", f"all {campaign.max_trials} trials are done")
        assert chain_is_whole(campaign) and campaign.best_score is not None
        for trial in Trial.objects.of(campaign.pk).filter(number__gt=0).select_related("parent"):
            assert trial.label in SCORED_LABELS | {Label.TRAIN_BUDGET_OVERRUN, Label.DISQUALIFIED}, trial.reason
            assert trial.parent is not None and trial.proposal["transforms"]
            parent, source = get_tree(trial.parent.source_id), get_tree(trial.source_id)
            changed = {name for name in source if source[name] != parent[name]}
            assert changed and changed <= set(trial.surface)


@pytest.mark.django_db(transaction=True)
def test_a_campaign_waits_for_a_person_and_goes_on_with_the_answer(workers: Path) -> None:
    campaign = launch_campaign(
        settings(name="asks", trials=2, slots=1, approve_trials=1, approve_keeps=True), actor="ada"
    )

    def waits_or_ends() -> bool:
        return ended(campaign) or Approval.objects.open(campaign.pk).exists()

    asked = 0
    while not ended(campaign):
        wait_until(waits_or_ends, workers)
        if not ended(campaign):
            asked += 1
            call_command("campaign", "approve", campaign.slug)
    assert (campaign.state, campaign.state_reason) == ("finished", "all 2 trials are done")
    assert asked and set(campaign.approvals.values_list("answer", flat=True)) == {"approved"}
    kept = Trial.objects.of(campaign.pk).filter(standing=Label.KEEP).count()
    assert kept == campaign.keep_count == campaign.approvals.filter(subject="keep").count()
    report = verified(exported(campaign, workers, "asks.zip"))
    assert (report["failures"], report["checked"]["questions to people"]) == ([], campaign.approvals.count())
