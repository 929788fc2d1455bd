"""Notes, stars, visibility and steering from the pages."""

from __future__ import annotations

import re
import threading

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from tests.factories import make_campaign, run_trial
from trials.models import Campaign, Note, Restriction, Star, Trial
from trials.services import people, shares
from trials.services.roles import ROLES, make_roles
from trials.site_models import SiteEvent
from trials.vocab import CampaignState

EVIL = "<script>alert(2)</script>"


def person(name: str, role: str) -> User:
    user = User.objects.create_user(name)
    user.groups.add(Group.objects.get(name=role))
    return User.objects.get(pk=user.pk)


@pytest.fixture
def researcher(db: None) -> User:
    return person("ada", "researcher")


@pytest.fixture
def trial(researcher: User) -> Trial:
    campaign = make_campaign()
    Campaign.objects.filter(pk=campaign.pk).update(created_by=researcher)
    run_trial(campaign, 2.4, parent=None)
    return Trial.objects.select_related("campaign").get()


@pytest.fixture
def browser(client: Client, researcher: User) -> Client:
    client.force_login(researcher)
    return client


def version_of(html: str) -> str:
    found = re.search(r'name="after" value="(\d+)"', html)
    assert found is not None
    return found[1]


def test_roles_are_there_and_a_site_may_change_them(db: None) -> None:
    assert {group.name for group in Group.objects.all()} >= set(ROLES)
    researchers = Group.objects.get(name="researcher")
    assert {each.codename for each in researchers.permissions.all()} == {"add_campaign", "add_note"}
    researchers.permissions.clear()
    make_roles(apps.get_app_config("trials"), "default")
    assert not researchers.permissions.exists()


def test_a_note_is_written_edited_and_shown_as_text(browser: Client, trial: Trial) -> None:
    address = f"{trial.get_absolute_url()}note/"
    assert browser.post(address, {"text": f"look at {EVIL}", "after": 0}).status_code == 302
    page = browser.get(trial.get_absolute_url()).content.decode()
    assert "look at &lt;script&gt;" in page
    assert EVIL not in page
    html = browser.get(address).content.decode()
    assert browser.post(address, {"text": "second", "after": version_of(html)}).status_code == 302
    assert [(note.version, note.text) for note in Note.objects.all()] == [(2, "second"), (1, f"look at {EVIL}")]


def test_two_edits_of_one_version_lose_nothing(browser: Client, trial: Trial) -> None:
    address = f"{trial.get_absolute_url()}note/"
    seen = version_of(browser.get(address).content.decode())
    people.write_note(trial, "first to save", after=0, author=person("bob", "researcher"))
    answer = browser.post(address, {"text": "mine", "after": seen})
    html = answer.content.decode()
    assert answer.status_code == 409
    assert "bob has changed this note meanwhile" in html
    assert "first to save" in html
    assert ">mine</textarea>" in html
    assert browser.post(address, {"text": "mine and first", "after": version_of(html)}).status_code == 302
    assert Note.objects.first().text == "mine and first"  # type: ignore[union-attr]


@pytest.mark.django_db(transaction=True)
def test_of_two_who_save_at_once_one_is_told() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    trial, user = Trial.objects.get(), User.objects.create_user("both")
    found: list[str] = []
    together = threading.Barrier(4)

    def save(number: int) -> None:
        try:
            together.wait()
            people.write_note(trial, f"text {number}", after=0, author=user)
            found.append("stored")
        except people.NoteConflict:
            found.append("told")
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["stored", "told", "told", "told"]


@pytest.mark.parametrize(
    ("text", "said"), [("x" * 10_001, "expected 10,000 at most"), ("", "expected a change")], ids=["long", "nothing"]
)
def test_notes_that_cannot_be_stored(browser: Client, trial: Trial, text: str, said: str) -> None:
    answer = browser.post(f"{trial.get_absolute_url()}note/", {"text": text, "after": 0})
    assert (answer.status_code, said in answer.content.decode()) == (409, True)
    assert not Note.objects.exists()


def test_viewers_read_notes_and_write_none(client: Client, trial: Trial, researcher: User) -> None:
    people.write_note(trial, "for all", after=0, author=researcher)
    client.force_login(person("eve", "viewer"))
    address = f"{trial.get_absolute_url()}note/"
    html = client.get(address).content.decode()
    assert "for all" in html
    assert "<textarea" not in html
    assert client.post(address, {"text": "mine", "after": 1}).status_code == 403
    assert Note.objects.count() == 1


def test_a_star_is_ones_own(browser: Client, client: Client, trial: Trial) -> None:
    for _ in range(2):
        browser.post(f"{trial.get_absolute_url()}star/", {"wanted": 1})
    assert Star.objects.count() == 1
    assert "★ Starred" in browser.get(trial.get_absolute_url()).content.decode()
    other = Client()
    other.force_login(person("eve", "viewer"))
    assert "☆ Star" in other.get(trial.get_absolute_url()).content.decode()
    browser.post(f"{trial.get_absolute_url()}star/", {"wanted": 0})
    assert not Star.objects.exists()
    assert browser.get(f"{trial.get_absolute_url()}star/").status_code == 405


def test_visibility_is_set_on_a_page_and_told_to_the_site(browser: Client, trial: Trial) -> None:
    person("eve", "viewer")
    address = f"{trial.campaign.get_absolute_url()}readers/"
    wrong = browser.post(address, {"who": "some", "names": "eve mallory"})
    assert wrong.status_code == 422
    assert "nobody is called mallory" in wrong.content.decode()
    assert not Restriction.objects.exists()
    done = browser.post(address, {"who": "some", "names": "eve"}, follow=True).content.decode()
    assert "Only these people see it now." in done
    assert "Seen by some people only" in done
    assert [each.username for each in Restriction.objects.get().readers.all()] == ["eve"]
    browser.post(address, {"who": "everybody", "names": "eve"})
    assert not Restriction.objects.exists()
    events = SiteEvent.objects.filter(kind="visibility_changed").order_by("seq")
    assert [event.payload["readers"] for event in events] == [["eve"], None]


def test_a_campaign_is_steered_from_its_page(browser: Client, trial: Trial) -> None:
    address = trial.campaign.get_absolute_url()
    html = browser.get(address).content.decode()
    assert 'data-state="running"' in html
    assert browser.get(f"{address}pause/").status_code == 405
    assert "paused" in browser.post(f"{address}pause/", follow=True).content.decode()
    assert 'class="notice"' in browser.post(f"{address}pause/", follow=True).content.decode()
    browser.post(f"{address}resume/")
    assert "expected 1 to 100" in browser.post(f"{address}weight/", {"weight": "1e2"}, follow=True).content.decode()
    weighed = browser.post(f"{address}weight/", {"weight": "7"}, follow=True).content.decode()
    assert 'name="weight" min="1" max="100" value="7"' in weighed and shares.weight_of(trial.campaign) == 7
    browser.post(f"{address}stop/")
    found = Campaign.objects.get()
    assert (found.state, found.state_reason) == (CampaignState.STOPPED, "stopped by ada")


def test_viewers_steer_nothing(client: Client, trial: Trial) -> None:
    client.force_login(person("eve", "viewer"))
    address = trial.campaign.get_absolute_url()
    assert "data-actions" not in client.get(address).content.decode()
    for verb in ("pause", "resume", "stop", "weight"):
        assert client.post(f"{address}{verb}/").status_code == 403
    assert Campaign.objects.get().state == CampaignState.RUNNING


def test_steering_wants_the_token_of_its_form(trial: Trial, researcher: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(researcher)
    for address in ("stop/", "readers/", "trials/0/note/", "trials/0/star/"):
        assert strict.post(f"{trial.campaign.get_absolute_url()}{address}").status_code == 403
