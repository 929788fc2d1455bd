"""Launching and steering, by form, command and admin: bad values are named at their field and nothing is written."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client

from specialists.forms import LaunchForm
from specialists.launch import LaunchError, LaunchSettings, launch_campaign, validate
from tests.factories import make_campaign
from trials.models import Campaign, Evaluation, Event, Trial
from trials.services import shares

pytestmark = pytest.mark.django_db

GOOD: dict[str, Any] = {
    "environment": "parameter_golf",
    "profile": "smoke",
    "roster": "paper-ten",
    "proposer": "catalog",
    "lineage": "shared",
    "keep_rule": "strict",
    "enforcement": "strict",
    "trials": 5,
    "hours": 1.0,
    "no_improvement_hours": 1.0,
    "slots": 2,
    "seed": 3,
    "level": "L2",
    "name": "By form",
}
BAD = [
    ("environment", "chess"),
    ("profile", "huge"),
    ("roster", "nobody"),
    ("proposer", "oracle"),
    ("lineage", "secret"),
    ("keep_rule", "lucky"),
    ("enforcement", "loose"),
    ("trials", 0),
    ("slots", 0),
    ("weight", 0),
    ("weight", 101),
    ("hours", -1.0),
    ("hours", float("nan")),
    ("no_improvement_hours", 0.0),
    ("seed", -1),
    ("level", "L0"),
    ("level", "L5"),
]


@pytest.mark.parametrize("field,value", BAD)
def test_a_bad_setting_is_named_with_what_was_expected(field: str, value: object) -> None:
    with pytest.raises(LaunchError, match="expected") as refused:
        validate(LaunchSettings(**{**GOOD, field: value}))
    assert refused.value.field == field


@pytest.mark.parametrize("level", ["L2", "L3", "L4"])
def test_a_campaign_may_ask_for_any_level_that_counts(level: str) -> None:
    validate(LaunchSettings(**{**GOOD, "level": level}))
    assert LaunchForm({**GOOD, "level": level}).is_valid()


@pytest.mark.parametrize("field,value", BAD)
def test_the_form_shows_the_error_at_its_field(field: str, value: object) -> None:
    form = LaunchForm({**GOOD, field: value})
    assert not form.is_valid()
    assert list(form.errors) == [field]


@pytest.mark.django_db
def test_a_launch_submits_the_starting_recipe_as_trial_0() -> None:
    campaign = launch_campaign(LaunchSettings(**GOOD), actor="test")
    trial = Trial.objects.get()
    assert (campaign.slug, campaign.max_trials, campaign.slots) == ("by-form", 5, 2)
    assert (shares.weight_of(campaign), Event.objects.earliest("seq").payload["weight"]) == (1, 1)
    assert (trial.number, trial.role, trial.parent) == (0, "baseline", None)
    assert Evaluation.objects.get().device == "cpu"
    assert list(Event.objects.values_list("kind", flat=True)) == ["campaign_launched", "trial_submitted"]
    assert launch_campaign(LaunchSettings(**GOOD), actor="test").slug == "by-form-2"


@pytest.mark.django_db
def test_the_command_ends_with_one_line_and_writes_nothing() -> None:
    with pytest.raises(CommandError, match="profile: 'huge' is unknown, expected one of cpu, gpu, paper, smoke"):
        call_command("launch", "parameter_golf", profile="huge")
    assert not Campaign.objects.exists()


@pytest.mark.django_db
def test_steering_an_unknown_campaign_names_the_known_ones() -> None:
    make_campaign()
    with pytest.raises(CommandError, match="expected one of: toy-search"):
        call_command("campaign", "pause", "toy")


@pytest.mark.django_db
def test_a_campaign_is_weighed_at_launch_and_by_command(capsys: pytest.CaptureFixture[str]) -> None:
    campaign = launch_campaign(LaunchSettings(**GOOD, weight=3), actor="test")
    assert shares.weight_of(campaign) == 3 and LaunchForm(GOOD | {"weight": 2}).is_valid()
    call_command("campaign", "weigh", campaign.slug, weight=5)
    assert (shares.weight_of(campaign), capsys.readouterr().out) == (5, "by-form: weight 5\n")
    for action, weight, said in (
        ("weigh", None, "weigh needs --weight"), ("pause", 2, "pause has no --weight"),
        ("weigh", 0, "0 is out of range, expected 1 to 100"),
    ):  # fmt: skip
        with pytest.raises(CommandError, match=said):
            call_command("campaign", action, campaign.slug, weight=weight)


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_user("ada", password="a long password", is_staff=True)


def test_the_admin_launches_for_those_who_may(client: Client, staff: User) -> None:
    client.force_login(staff)
    assert client.get("/admin/trials/campaign/add/").status_code == 302
    staff.user_permissions.add(*Permission.objects.filter(codename__in=["add_campaign", "view_campaign"]))
    page = client.get("/admin/trials/campaign/add/").content.decode()
    for name in ("parameter_golf", "paper-ten", "catalog", "own-role"):
        assert f'value="{name}"' in page
    refused = client.post("/admin/trials/campaign/add/", {**GOOD, "trials": 0})
    assert "expected 1 to" in refused.content.decode() and not Campaign.objects.exists()
    launched = client.post("/admin/trials/campaign/add/", GOOD)
    assert launched.headers["Location"] == "/campaigns/by-form/"
    assert Campaign.objects.get().created_by == staff


def test_the_admin_steers_for_those_who_may_and_says_what_it_cannot_do(client: Client, staff: User) -> None:
    campaign = make_campaign()
    staff.user_permissions.add(*Permission.objects.filter(codename__in=["change_campaign", "view_campaign"]))
    client.force_login(staff)

    def act(action: str) -> str:
        posted = client.post(
            "/admin/trials/campaign/", {"action": action, "_selected_action": [campaign.pk]}, follow=True
        )
        campaign.refresh_from_db()
        return posted.content.decode()

    act("pause")
    assert campaign.state == "paused"
    act("resume")
    assert campaign.state == "running"
    act("stop")
    assert campaign.state == "stopped"
    assert "so it cannot become paused" in act("pause")


def test_the_admin_neither_edits_nor_deletes_the_record(client: Client, admin_client: Client) -> None:
    campaign = make_campaign()
    assert admin_client.get(f"/admin/trials/campaign/{campaign.pk}/delete/").status_code == 403
    assert admin_client.post(f"/admin/trials/campaign/{campaign.pk}/change/", {"name": "x"}).status_code == 403
    campaign.refresh_from_db()
    assert campaign.name == "Toy search"
