"""Quotas: launches over a limit are refused, campaigns over one are paused, and what counts equals the rows."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from specialists import launch, quotas, services
from specialists.forms import LaunchForm
from specialists.launch import LaunchError, LaunchSettings
from specialists.models import Account
from specialists.operations import page, waits
from specialists.quotas import Limits, Used
from specialists.studies import services as studies
from tests.factories import SPEC, make_campaign, run_trial
from tests.specialists.studies import SETTINGS
from trials.models import Campaign
from trials.services.campaigns import WrongState
from trials.services.tokens import make_token

CHOSEN = LaunchSettings("parameter_golf", profile="smoke", trials=2, keep_rule="strict")
FOUR = SPEC | {"profile": SPEC["profile"] | {"devices": 4}}


@pytest.fixture
def anna(transactional_db: None) -> User:
    made = User.objects.create_user("anna")
    made.user_permissions.add(Permission.objects.get(codename="add_campaign"))
    return User.objects.get(pk=made.pk)


def owned(user: User, **changes: Any) -> Campaign:
    campaign = make_campaign(**changes)
    Campaign.objects.filter(pk=campaign.pk).update(created_by=user)
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.1)
    return Campaign.objects.get(pk=campaign.pk)


def hours(*campaigns: Campaign) -> float:
    """Device hours from the trials alone."""
    return sum(
        ((trial.run_seconds or 0) + (trial.eval_seconds or 0)) * campaign.spec["profile"].get("devices", 1) / 3600
        for campaign in campaigns
        for trial in campaign.trials.all()
    )


def test_what_is_used_equals_the_rows(anna: User) -> None:
    one, four = owned(anna), owned(anna, spec=FOUR)
    Campaign.objects.filter(pk=four.pk).update(repeat_seconds=90.0, state="finished")
    Account.objects.create(campaign=one, role="", cost="1.25")
    Account.objects.create(campaign=one, role="loss", cost="1.25")
    owned(User.objects.create_user("bert"))
    used = quotas.used_by([anna.pk])[anna.pk]
    assert used.campaigns == 1 and used.usd == 1.25
    assert used.device_hours == pytest.approx(hours(one, four) + 4 * 90 / 3600, abs=1e-5)
    assert hours(one, four) > 0 and quotas.used_by([0]) == {0: Used()}


def test_a_launch_over_the_limit_is_refused_in_words(anna: User) -> None:
    quotas.change(anna, Limits(campaigns=1))
    launch.launch_campaign(CHOSEN, actor="anna", user=anna)
    with pytest.raises(LaunchError) as refused:
        launch.launch_campaign(CHOSEN, actor="anna", user=anna)
    told = "quota of anna: 1 of 1 campaigns are live, expected one to end first"
    assert (refused.value.field, refused.value.message) == ("quota", told)
    form = LaunchForm(initial(), user=anna)
    assert not form.is_valid() and form.non_field_errors() == [told]
    secret = make_token(anna, "program", ["steer"], 1, actor="test")
    answer = Client(headers={"Authorization": f"Bearer {secret}"}).post(
        "/api/v1/campaigns", {"environment": "parameter_golf", "profile": "smoke"}, content_type="application/json"
    )
    assert answer.status_code == 422 and answer.json()["detail"] == f"quota: {told}"
    launch.launch_campaign(CHOSEN, actor="command")  # commands have no quota
    quotas.change(anna, Limits(campaigns=2))
    launch.launch_campaign(CHOSEN, actor="anna", user=anna)
    assert quotas.used_by([anna.pk])[anna.pk].campaigns == 2


def initial() -> dict[str, Any]:
    """What the launch form sends when nothing is changed but the environment."""
    fields = {name: field.initial for name, field in LaunchForm().fields.items() if field.initial is not None}
    choices = {"environment": "parameter_golf", "roster": "paper-ten", "proposer": "catalog", "lineage": "shared"}
    return fields | choices


def test_two_launches_at_once_do_not_both_fit(anna: User) -> None:
    quotas.change(anna, Limits(campaigns=1))
    ready, outcomes = threading.Barrier(2), []

    def go() -> None:
        try:
            ready.wait(30)
            launch.launch_campaign(CHOSEN, actor="anna", user=User.objects.get(pk=anna.pk))
            outcomes.append("launched")
        except LaunchError as error:
            outcomes.append(error.field)
        finally:
            connection.close()

    both = [threading.Thread(target=go) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert sorted(outcomes) == ["launched", "quota"] and Campaign.objects.count() == 1


@pytest.mark.parametrize("what", ["device_hours", "usd"])
def test_who_has_used_it_up_is_paused_and_goes_on_when_it_is_raised(anna: User, what: str) -> None:
    campaign, other = owned(anna, spec=FOUR), owned(User.objects.create_user("bert"))
    Account.objects.create(campaign=campaign, role="", cost="3.5")
    Campaign.objects.filter(pk=campaign.pk).update(repeat_seconds=3600.0)  # on four devices
    used = {"device_hours": 4.0, "usd": 3.5}[what]
    quotas.change(anna, replace(Limits(), **{what: used * 2}))
    services.tick()
    campaign.refresh_from_db()
    assert campaign.state == "running"
    quotas.change(anna, replace(Limits(), **{what: used / 2}))
    services.tick()
    campaign.refresh_from_db()
    other.refresh_from_db()
    assert (campaign.state, other.state) == ("paused", "running")
    assert campaign.state_reason.startswith("quota of anna: ") and campaign.state_reason.endswith("are used")
    event = campaign.events.latest("seq")
    assert (event.kind, event.actor, event.payload["to"]) == ("campaign_state", "quota", "paused")
    [wait] = [one for one in waits.hanging() if one.kind == "quota"]
    assert wait.hangs and wait.campaign == campaign.slug and "raise the quota" in wait.act
    with pytest.raises(WrongState, match="cannot go on, quota of anna: "):
        launch.resume(campaign, actor="anna")
    with pytest.raises(LaunchError, match="expected an admin to raise it"):
        launch.launch_campaign(CHOSEN, actor="anna", user=anna)
    quotas.change(anna, Limits())
    assert launch.resume(Campaign.objects.get(pk=campaign.pk), actor="anna").state == "running"


def test_defaults_are_for_those_without_limits_of_their_own(anna: User, settings: Any) -> None:
    assert quotas.limits_of(anna) == Limits()
    settings.QUOTA_CAMPAIGNS, settings.QUOTA_DEVICE_HOURS, settings.QUOTA_USD = 3, 100, 0
    assert quotas.limits_of(User.objects.get(pk=anna.pk)) == Limits(3, 100.0, None)
    root = User.objects.create_superuser("root")
    assert quotas.limits_of(root) == Limits()
    quotas.change(root, Limits(campaigns=1))
    quotas.change(anna, Limits(usd=2.0))
    assert quotas.limits_of(User.objects.get(pk=root.pk)) == Limits(campaigns=1)
    assert quotas.limits_of(User.objects.get(pk=anna.pk)) == Limits(usd=2.0)


def test_a_study_waits_for_room_where_a_launch_would_be_refused(anna: User) -> None:
    quotas.change(anna, Limits(campaigns=1))
    study = studies.launch_study(replace(SETTINGS, parallel=2), actor="anna", user=anna)
    studies.advance(study.pk)
    study.refresh_from_db()
    assert study.state == "running" and Campaign.objects.count() == 1
    quotas.change(anna, Limits(campaigns=2))
    studies.advance(study.pk)
    assert Campaign.objects.count() == 2


def test_people_see_their_own_use_and_admins_all(anna: User) -> None:
    owned(anna)
    bert = User.objects.create_user("bert")
    quotas.change(bert, Limits(usd=5.0))
    root = User.objects.create_superuser("root")
    for who, shown in ((anna, ["anna"]), (bert, ["bert"]), (root, ["anna", "bert"])):
        assert [person.username for person, _, _ in page.context(who)["people"]] == shown
        client = Client()
        client.force_login(who)
        text = client.get("/workers/").content.decode()
        assert [f'data-person="{name}"' in text for name in ("anna", "bert")] == [n in shown for n in ("anna", "bert")]
    client.force_login(root)
    assert client.get("/admin/specialists/quota/").status_code == 200


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("quota", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_shows_and_changes(anna: User) -> None:
    owned(anna)
    assert said().startswith("anna: campaigns 1 of any, device hours ")
    [row] = json.loads(said("anna", "--campaigns", "2", "--usd", "7.5", "--json"))
    assert row["limits"] == {"campaigns": 2, "device_hours": None, "usd": 7.5} and row["used"]["campaigns"] == 1
    assert "campaigns 1 of any" in said("anna", "--campaigns", "none") and "usd 0 of 7.50" in said("anna")
    for arguments, told in (
        (("nobody",), "no user 'nobody'"),
        (("--usd", "3"), "whose limits"),
        (("anna", "--usd", "-3"), "invalid limit"),
        (("anna", "--campaigns", "1.5"), "invalid limit"),
        (("anna", "--device-hours", "nan"), "invalid limit"),
    ):
        with pytest.raises(CommandError, match=told):
            said(*arguments)
