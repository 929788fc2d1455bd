"""Rosters are data: checked where they are written and where they are used, copied into a campaign, never shared."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client

from evaluators.registry import ENVIRONMENTS
from specialists.launch import LaunchSettings, launch_campaign
from specialists.models import StoredRole, StoredRoster
from specialists.roster_store import find_roster
from specialists.rosters import Role, Roster, RosterError, check, rosters_for
from trials.models import Campaign
from trials.site_models import SiteEvent

CIFAR = ENVIRONMENTS["cifar_airbench96"].spec
ADD = "/admin/specialists/storedroster/add/"
LIST = "/admin/specialists/storedroster/"


def halves(**changes: Any) -> list[dict[str, Any]]:
    """Two roles that own everything; ``changes`` are made to the first."""
    first = {"name": "net", "surface": CIFAR.files[:2], "preamble": "The network.", "priors": "Wide beats deep."}
    second = {"name": "rest", "surface": CIFAR.files[2:], "preamble": "The rest.", "priors": ""}
    return [{**first, **changes}, second]


def roster(roles: list[dict[str, Any]], **changes: Any) -> Roster:
    made = tuple(Role(**{**role, "surface": tuple(role["surface"])}) for role in roles)
    return Roster(**{"name": "halves", "title": "Halves", "environment": CIFAR.name, "roles": made, **changes})


WRONG = [
    (halves(name="Net!"), {}, "a role cannot be called 'Net!', expected small letters"),
    (halves(name="baseline"), {}, "cannot be called 'baseline'"),
    (halves(name="rest"), {}, "two roles are called rest"),
    (halves(surface=[]), {}, "net owns no file, expected some of architecture.py"),
    (halves(preamble=" "), {}, "net has no preamble"),
    (halves(surface=["architecture.py", "nets.py"]), {}, "net owns nets.py, which the recipe lacks"),
    (halves(surface=["architecture.py", "recipe.py"]), {}, "net owns recipe.py, which belongs to nobody"),
    (halves(surface=["loss.py", "loss.py"]), {}, "net names a file twice"),
    (halves(surface=["architecture.py"]), {}, "optimization.py belongs to no role"),
    (halves(surface=CIFAR.files), {}, "belongs to net and rest, expected one owner"),
    ([], {}, "there is no role"),
    (halves(), {"name": "Halves"}, "the name 'Halves' cannot be used"),
]


@pytest.mark.parametrize("roles,changes,message", WRONG)
def test_what_is_wrong_with_a_roster_is_told_in_one_line(
    roles: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RosterError, match=message) as refused:
        check(roster(roles, **changes), CIFAR)
    assert "\n" not in str(refused.value)


def test_files_may_be_shared_where_the_roster_says_so() -> None:
    check(roster(halves(surface=CIFAR.files), shared=True), CIFAR)


def test_every_roster_that_comes_with_the_environments_is_sound() -> None:
    found = [(e.spec, one) for e in ENVIRONMENTS.values() for one in rosters_for(e.spec).values()]
    for spec, one in found:
        check(one, spec)
    assert len(found) >= 9


def posted(roles: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """What a browser sends from the roster's page."""
    data: dict[str, Any] = {"name": "halves", "title": "Halves", "environment": CIFAR.name, **changes}
    data |= {"roles-TOTAL_FORMS": len(roles), "roles-INITIAL_FORMS": data.pop("initial", 0)}
    for number, role in enumerate(roles):
        for name, value in role.items():
            data[f"roles-{number}-{name}"] = ", ".join(value) if name == "surface" else value
    return data


@pytest.fixture
def editor(db: None, client: Client) -> Client:
    """Somebody who may make and change rosters, and nothing else."""
    user = User.objects.create_user("grace", password="a long password", is_staff=True)
    user.user_permissions.add(
        *Permission.objects.filter(content_type__app_label="specialists", codename__endswith="storedroster"),
        *Permission.objects.filter(content_type__app_label="specialists", codename__endswith="storedrole"),
    )
    client.force_login(user)
    return client


def test_a_roster_is_made_in_the_admin_and_launched_by_name(editor: Client) -> None:
    answer = editor.post(ADD, posted(halves()))
    assert answer.status_code == 302, answer.content.decode()
    stored = StoredRoster.objects.get()
    assert stored.as_roster() == roster(halves()) and stored.changed_by is not None
    assert stored.changed_by.get_username() == "grace"
    assert LogEntry.objects.get().user.get_username() == "grace"

    chosen = LaunchSettings(environment=CIFAR.name, profile="smoke", roster="halves", name="mine")
    campaign = launch_campaign(chosen, actor="test")
    assert campaign.roster == "halves"
    assert [role["name"] for role in campaign.roles] == ["net", "rest"]
    assert campaign.roles[0]["priors"] == "Wide beats deep."

    first, second = StoredRole.objects.all()
    kept = [{"id": first.pk, "roster": stored.pk}, {"id": second.pk, "roster": stored.pk}]
    changed = [known | role for known, role in zip(kept, halves(preamble="The net alone."), strict=True)]
    answer = editor.post(f"{LIST}{stored.pk}/change/", posted(changed, initial=2))
    assert answer.status_code == 302, answer.content.decode()
    stored.refresh_from_db()
    assert stored.as_roster().roles[0].preamble == "The net alone."
    campaign.refresh_from_db()
    assert campaign.roles[0]["preamble"] == "The network."
    made, edited = SiteEvent.objects.filter(kind="roster_changed").order_by("seq")
    assert (made.actor, edited.actor) == ("grace", "grace")
    assert made.payload["roles"][0] == {**halves()[0], "surface": list(CIFAR.files[:2])}
    assert edited.payload["roles"][0]["preamble"] == "The net alone."
    assert "changed" in LogEntry.objects.first().change_message and LogEntry.objects.count() == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("roles,changes,message", [row for row in WRONG if row[0] and "name" not in row[1]])
def test_the_admin_refuses_what_a_launch_would_refuse(
    editor: Client, roles: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    page = editor.post(ADD, posted(roles, **changes)).content.decode().replace("&#x27;", "'")
    expected = "This field is required" if "no preamble" in message else message
    assert expected in page and not StoredRoster.objects.exists()


def test_a_roster_that_is_deleted_stays_in_the_ledger(editor: Client) -> None:
    for name in ("first", "second"):
        editor.post(ADD, posted(halves(), name=name))
    first, second = StoredRoster.objects.all()
    editor.post(f"{LIST}{first.pk}/delete/", {"post": "yes"})
    editor.post(LIST, {"action": "delete_selected", "_selected_action": [second.pk], "post": "yes"})
    assert not StoredRoster.objects.exists()
    gone = SiteEvent.objects.filter(kind="roster_deleted").order_by("seq")
    assert [event.payload["name"] for event in gone] == ["first", "second"]
    assert all(len(event.payload["roles"]) == 2 for event in gone)


@pytest.mark.parametrize("name,message", [("paper-ten", "one of the built-in rosters"), ("My own", "cannot be used")])
def test_a_name_that_is_taken_or_no_name_is_refused(editor: Client, name: str, message: str) -> None:
    assert message in editor.post(ADD, posted(halves(), name=name)).content.decode()
    assert not StoredRoster.objects.exists()


def test_a_roster_without_a_role_is_refused(editor: Client) -> None:
    assert "there is no role" in editor.post(ADD, posted([])).content.decode()
    assert not StoredRoster.objects.exists()


def test_a_copy_of_any_roster_is_a_page_away(editor: Client) -> None:
    assert "?like=cifar_airbench96/paper-five-cifar" in editor.get(LIST).content.decode()
    page = editor.get(f"{ADD}?like=cifar_airbench96/paper-five-cifar").content.decode()
    assert 'value="my-paper-five-cifar"' in page and page.count("Norms, dropout, weight decay") == 1
    five = find_roster(CIFAR, "paper-five-cifar")
    assert five is not None
    roles = [role.as_json() for role in five.roles]
    answer = editor.post(f"{ADD}?like=cifar_airbench96/paper-five-cifar", posted(roles, name="my-five"))
    assert answer.status_code == 302
    mine = find_roster(CIFAR, "my-five")
    assert mine is not None and mine.roles == five.roles
    assert find_roster(ENVIRONMENTS["parameter_golf"].spec, "my-five") is None


@pytest.mark.django_db
def test_an_unknown_roster_names_those_that_fit() -> None:
    StoredRoster.objects.create(name="other", title="Other", environment="parameter_golf")
    with pytest.raises(CommandError, match="roster: 'other' is unknown, expected one of generic-10, paper-five-cifar"):
        call_command("launch", CIFAR.name, profile="smoke", roster="other")
    with pytest.raises(CommandError, match="roster: other: there is no role"):
        call_command("launch", "parameter_golf", profile="smoke", roster="other")
    assert not Campaign.objects.exists()
