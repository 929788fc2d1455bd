"""A campaign over a script: its scores say on every page, report and record that they were read from a log."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from evaluators import services
from evaluators.environments.script import Script
from evaluators.environments.script.definition import load
from evaluators.preflight import read_recipe
from evaluators.registry import ENVIRONMENTS, register
from specialists.forms import LaunchForm
from specialists.launch import LaunchError, LaunchSettings, launch_campaign, validate
from specialists.rosters import SINGLE, rosters_for
from tests.factories import make_campaign, order_of, run_trial, submit
from trials.models import Campaign, Measurement, Trial
from trials.services import submissions
from trials.services.reports import current_report
from trials.vocab import Label, Purpose

BADGE = "scores read from the script's log"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def fit_line() -> Iterator[Script]:
    found = load(Path(__file__).resolve().parent / "scripts" / "fit_line.toml")
    environment = Script(replace(found, spec=replace(found.spec, title=f"Line {EVIL}", score_name=f"loss {EVIL}")))
    register(environment)
    yield environment
    del ENVIRONMENTS[found.spec.name]


def campaign_of(environment: Script) -> Campaign:
    roster = rosters_for(environment.spec)[SINGLE]
    return make_campaign(
        environment=environment.spec.name,
        spec=environment.spec.as_json("cpu"),
        roster=roster.name,
        roles=[role.as_json() for role in roster.roles],
    )


def measured(campaign: Campaign, files: dict[str, bytes], **changes: Any) -> Trial:
    """Submit, measure in a sandbox, judge."""
    trial = submit(campaign, files=files, surface=("train.py", "model.py"), **changes)
    assert services.evaluate(order_of(trial).pk) == campaign.pk
    services.judge_measured(campaign.pk)
    trial.refresh_from_db()
    return trial


def page(browser: Client, address: str) -> str:
    return html.unescape(browser.get(address).content.decode())


@pytest.mark.django_db
def test_trials_of_a_script_are_measured_and_marked_everywhere(client: Client, fit_line: Script) -> None:
    campaign, start = campaign_of(fit_line), read_recipe(fit_line.spec)
    baseline = measured(campaign, start, parent=None)
    better = {**start, "model.py": start["model.py"].replace(b"RATE = 0.05", b"RATE = 0.02")}
    edited = measured(campaign, better, role="generalist")
    moved = measured(campaign, {**start, "points.csv": b"x,y\n0,0\n0,1\n"}, role="generalist")
    assert baseline.label == Label.BASELINE
    assert edited.label in (Label.KEEP, Label.DISCARD) and edited.artifact_bytes == 64
    assert (moved.label, moved.reason) == (Label.PREFLIGHT_CRASH, "points.csv is outside the role's surface")

    campaign.refresh_from_db()
    assert campaign.spec["score_source"] == campaign.score_source == current_report(campaign)["score_source"] == "log"
    for trial in (baseline, edited, moved):
        assert trial.measurements.get(purpose=Purpose.TRIAL).record["score_source"] == "log"
    client.force_login(User.objects.create_user("viewer"))
    addresses = ("/", campaign.get_absolute_url(), edited.get_absolute_url(), moved.get_absolute_url())
    for address in addresses:
        assert BADGE in page(client, address), address
        assert EVIL not in client.get(address).content.decode(), address
    assert "as the script's log tells them" in page(client, edited.get_absolute_url())
    assert "read from the script's log" in page(client, f"{campaign.get_absolute_url()}")


@pytest.mark.django_db
def test_a_search_over_a_script_ends_without_sealed_scores(fit_line: Script) -> None:
    campaign = campaign_of(fit_line)
    measured(campaign, read_recipe(fit_line.spec), parent=None)
    orders = submissions.order_sealed(campaign.pk, reason="enough", actor="test", enqueue=lambda evaluation_id: None)
    for order in orders:
        services.evaluate(order.pk)
    assert services.judge_measured(campaign.pk) == len(orders) == 1
    campaign.refresh_from_db()
    sealed = current_report(campaign)["sealed"]
    assert (sealed["start"], sealed["best"], sealed["seeds"]) == (None, None, 0)
    ended = Measurement.objects.get(campaign=campaign, purpose=Purpose.SEALED)
    assert (ended.status, ended.record["reason"]) == (Label.INVALID_RESULT, "a script has no sealed split")


@pytest.mark.django_db
def test_scores_of_an_evaluator_bear_no_mark(client: Client) -> None:
    campaign = make_campaign()
    trial = run_trial(campaign, 2.4, parent=None)
    client.force_login(User.objects.create_user("viewer"))
    assert current_report(campaign)["score_source"] == "evaluator"
    for address in ("/", campaign.get_absolute_url(), trial.get_absolute_url()):
        assert "read from the script" not in page(client, address)


def settings(**changes: Any) -> LaunchSettings:
    return LaunchSettings(**{"environment": "fit_line", "slots": 1, **changes})


@pytest.mark.django_db
def test_a_search_that_nobody_could_propose_for_does_not_start(fit_line: Script) -> None:
    with pytest.raises(
        LaunchError, match=r"the catalogue has no edit of train.py, model.py, expected a proposer"
    ) as no:
        launch_campaign(settings(), actor="test")
    assert no.value.field == "proposer"
    assert not Campaign.objects.exists()


def test_scores_of_a_log_cannot_be_verified(db: None, fit_line: Script) -> None:
    with pytest.raises(LaunchError, match="'verified' is impossible here, expected strict: scores of fit_line") as no:
        validate(settings(keep_rule="verified"))
    assert no.value.field == "keep_rule"


def test_a_recipe_that_is_gone_is_told_at_the_environments_field(db: None, fit_line: Script, tmp_path: Path) -> None:
    fit_line.spec = replace(fit_line.spec, recipe_dir=tmp_path)
    with pytest.raises(LaunchError, match="is missing, expected the recipe's 3 files") as no:
        validate(settings())
    assert no.value.field == "environment"


def test_files_that_no_roster_knows_belong_to_one_role(db: None, fit_line: Script) -> None:
    (role,) = rosters_for(fit_line.spec)[SINGLE].roles
    assert role.surface == ("train.py", "model.py")
    form = LaunchForm({**vars(settings(roster=SINGLE, keep_rule="strict")), "level": "L2", "name": "x"})
    assert not form.is_valid()
    assert list(form.errors) == ["proposer"]
    golf = rosters_for(ENVIRONMENTS["parameter_golf"].spec)
    assert list(golf) == ["paper-ten", "single", "generic-10"]
