"""Campaigns that ask a person: from the launch through loop, sessions and lineage to the answer by command or admin."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from evaluators.services import judge_measured
from specialists import launch, loop, services
from specialists.forms import LaunchForm
from specialists.launch import LaunchError, LaunchSettings, launch_campaign
from specialists.library import source_reader
from specialists.models import Account, Session
from specialists.vocab import SessionState
from tests.factories import make_campaign, run_trial, submit
from tests.specialists.test_verified_search import measure
from tests.trials.test_confirmations import books_are_right
from trials.lineage import build_slice
from trials.models import Approval, Campaign, Evaluation, Event, Trial
from trials.services import approvals
from trials.vocab import LIVE_CAMPAIGN_STATES, Answer, EvaluationState

pytestmark = pytest.mark.django_db
ADMIN = "/admin/trials/campaign/"


def kept(**checkpoints: Any) -> Campaign:
    """A campaign whose trial 1 looks better than the start."""
    campaign = make_campaign(checkpoints=checkpoints)
    run_trial(campaign, 2.0, parent=None)
    run_trial(campaign, 1.5)
    return Campaign.objects.get(pk=campaign.pk)


def decided(campaign: Campaign) -> loop.Decision:
    campaign.refresh_from_db()
    return loop.decide(services.situation(campaign))


def answer(campaign: Campaign, given: Answer) -> None:
    """A person answers, and the message that this sends arrives."""
    launch.answer(campaign, given, actor="ada")
    services.advance(campaign.pk)


@pytest.fixture
def grace(client: Client) -> Client:
    """Somebody who may steer campaigns."""
    user = User.objects.create_user("grace", password="a long password", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["change_campaign", "view_campaign"]))
    client.force_login(user)
    return client


def test_checkpoints_are_chosen_at_launch_and_part_of_its_event() -> None:
    chosen = LaunchSettings(
        environment="parameter_golf", profile="smoke", approve_keeps=True, approve_trials=5, approve_hours=1.5
    )
    campaign = launch_campaign(chosen, actor="test")
    places = {"keeps": True, "trials": 5, "hours": 1.5}
    assert campaign.checkpoints == places
    assert Event.objects.get(campaign=campaign, seq=1).payload["checkpoints"] == places
    call_command("launch", "parameter_golf", "--profile", "smoke", "--approve-keeps", "--approve-trials", "3")
    assert Campaign.objects.order_by("-pk")[0].checkpoints == {"keeps": True, "trials": 3}
    form = LaunchForm({**vars(chosen), "keep_rule": "strict", "roster": "paper-ten", "approve_usd": ""})
    assert form.is_valid(), form.errors
    assert (form.chosen().approve_keeps, form.chosen().approve_usd) == (True, 0)


@pytest.mark.parametrize(
    "changes,message",
    [({"approve_trials": -1}, "approve_trials: -1 is out of range"), ({"approve_hours": -0.5}, "approve_hours: -0.5"),
     ({"approve_usd": 2.0}, "what catalog costs is not known here")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_at_launch(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        launch.validate(LaunchSettings(environment="parameter_golf", profile="smoke", **changes))


def test_while_a_person_is_asked_nothing_begins() -> None:
    campaign = kept(keeps=True)
    assert decided(campaign) == loop.Wait("waits for a person to approve trial 1 as the base")
    services.advance(campaign.pk)
    assert not Session.objects.exists()
    answer(campaign, Answer.APPROVED)
    assert Session.objects.count() == campaign.slots  # it goes on at once


def test_waiting_is_no_time_without_improvement_but_counts_as_hours() -> None:
    campaign = kept(keeps=True)
    Campaign.objects.update(created_at=timezone.now() - timedelta(hours=10))
    assert isinstance(decided(campaign), loop.Wait)
    Campaign.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert decided(campaign) == loop.Finish("24 hours are over")
    Campaign.objects.update(created_at=timezone.now() - timedelta(hours=10))
    approval = Approval.objects.get()
    approvals.close(Campaign.objects.get(), approval, Answer.REFUSED, actor="ada")
    assert isinstance(decided(campaign), loop.StartSession)  # the four hours begin with the answer


@pytest.mark.parametrize(
    "places,told",
    [({"trials": 1}, "1 trial"), ({"hours": 0.5}, "1.00 hours"), ({"usd": 2.0}, "2.50 US dollars")],
)
def test_a_person_is_asked_before_more_of_a_budget_is_used(places: dict[str, Any], told: str) -> None:
    campaign = kept(**places)
    Campaign.objects.update(created_at=timezone.now() - timedelta(hours=1))
    Account.objects.create(campaign=campaign, role="", cost=Decimal("2.5"))
    waiting = submit(campaign, files={"a.py": b"1", "b.py": b"", "recipe.py": b""}) if "trials" not in places else None
    if waiting is not None:
        assert "waiting for what is in flight" in str(decided(campaign))
        Trial.objects.filter(pk=waiting.pk).update(state="cancelled")
        Evaluation.objects.filter(trial=waiting).update(state="cancelled")
    [subject] = places
    assert decided(campaign) == loop.Ask(subject)
    services.advance(campaign.pk)
    assert told in str(decided(campaign)) and not Session.objects.exists()
    answer(campaign, Answer.APPROVED)
    assert Session.objects.count() == (1 if "trials" in places else 2)  # as far as the next step goes
    assert Approval.objects.get().used == pytest.approx({"trials": 1, "hours": 1.0, "usd": 2.5}[subject], rel=0.01)


def test_a_refused_budget_ends_the_search() -> None:
    campaign = kept(trials=1)
    services.advance(campaign.pk)
    answer(campaign, Answer.REFUSED)
    campaign.refresh_from_db()
    assert (campaign.state, campaign.state_reason) == ("finalising", "a person refused to go on after 1 trial")


def test_agents_are_told_and_cannot_build_on_what_waits() -> None:
    campaign = kept(keeps=True)
    view = build_slice(campaign, "architecture")
    assert "nothing may be built on a provisional trial" in view.text()
    assert "waits for a person to approve it as the base" in view.text()
    assert view.best is not None and view.best.number == 0
    read = source_reader(campaign, view)
    assert read(0)
    with pytest.raises(LookupError, match="trial 1 is not approved yet"):
        read(1)
    assert "provisional trial" not in build_slice(make_campaign(), "architecture").text()


def test_the_command_answers_all_that_waits_or_one_trial(capsys: pytest.CaptureFixture[str]) -> None:
    campaign = kept(keeps=True)
    run_trial(campaign, 1.4, parent=0)
    with pytest.raises(CommandError, match="trial 7 of toy-search does not wait for a person"):
        call_command("campaign", "approve", campaign.slug, "--trial", "7")
    call_command("campaign", "refuse", campaign.slug, "--trial", "1", "--remark", "reads the clock")
    call_command("campaign", "approve", campaign.slug)
    assert (
        capsys.readouterr().out == "toy-search: refused trial 1 as the base\ntoy-search: approved trial 2 as the base\n"
    )
    told = Event.objects.filter(kind="approval_answered").order_by("seq")
    assert [(event.actor, event.payload["remark"]) for event in told] == [
        ("command", "reads the clock"),
        ("command", ""),
    ]
    with pytest.raises(CommandError, match="is running and waits for no answer"):
        call_command("campaign", "approve", campaign.slug)
    with pytest.raises(CommandError, match="pause has no --trial"):
        call_command("campaign", "pause", campaign.slug, "--trial", "1")


def test_who_may_steer_answers_on_a_page_that_shows_what_is_decided(grace: Client) -> None:
    campaign = kept(keeps=True)
    page = f"{ADMIN}{campaign.pk}/decide/"
    there = grace.get(campaign.get_absolute_url()).content.decode()
    assert "waits for a person to approve trial 1 as the base" in there and page in there
    assert "a person is asked <b>before a keep becomes the base</b>" in there
    listed = grace.post(ADMIN, {"action": "decide", "_selected_action": [campaign.pk]})
    assert listed.headers["Location"] == page
    shown = grace.get(page).content.decode()
    assert "trial 1 as the base" in shown and "Idea 1 should help." in shown and "An answer is final" in shown
    assert Approval.objects.get().answer == ""  # to look is to decide nothing

    assert "Choose what you answer." in grace.post(page, {"answer": "approved"}).content.decode()
    assert "does not wait any more" in grace.post(page, {"answer": "approved", "questions": [5]}).content.decode()
    done = grace.post(page, {"answer": "approved", "questions": [0], "remark": "<b>sound</b>"})
    assert done.headers["Location"] == campaign.get_absolute_url()
    event = Event.objects.get(kind="approval_answered")
    assert (event.actor, event.payload["remark"]) == ("grace", "<b>sound</b>")
    assert "waits for nobody" in grace.get(page).content.decode()
    record = grace.get(campaign.get_absolute_url() + "trials/1/").content.decode()
    assert "by <b>grace</b>" in record and "&lt;b&gt;sound&lt;/b&gt;" in record
    assert (
        "None of them waits"
        in grace.post(ADMIN, {"action": "decide", "_selected_action": [campaign.pk]}, follow=True).content.decode()
    )


def test_nobody_else_answers(client: Client) -> None:
    campaign = kept(keeps=True)
    page = f"{ADMIN}{campaign.pk}/decide/"
    said = {"answer": "approved", "questions": [0]}
    assert "/login/" in client.post(page, said).headers["Location"]
    reader = User.objects.create_user("reader", password="a long password", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_campaign"))
    client.force_login(reader)
    assert client.post(page, said).status_code == client.get(page).status_code == 403
    assert page not in client.get(campaign.get_absolute_url()).content.decode()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("root", password="a long password"))
    assert strict.post(page, said).status_code == 403
    assert Approval.objects.get().answer == ""


def searched(order_of_work: int) -> tuple[Campaign, list[tuple[Any, ...]]]:
    """A whole search with real loop, sessions, judge and record; only the measuring is made up, and the person."""
    chosen = LaunchSettings(
        environment="parameter_golf", profile="smoke", trials=8, slots=3, reproducible=True, seed=3,
        approve_keeps=True, approve_trials=4, name=f"order {order_of_work}",
    )  # fmt: skip
    campaign = launch_campaign(chosen, actor="test")
    chance = random.Random(order_of_work)
    services.advance(campaign.pk)
    for _ in range(600):
        campaign.refresh_from_db()
        if campaign.state not in LIVE_CAMPAIGN_STATES:
            break
        held = Evaluation.objects.filter(campaign=campaign, state=EvaluationState.QUEUED).select_related("trial")
        waiting: list[Any] = [*held, *Session.objects.filter(campaign=campaign, state=SessionState.RUNNING)]
        chosen_one = chance.choice(sorted(waiting, key=lambda row: row.pk)) if waiting else None
        if isinstance(chosen_one, Session):
            services.run_session(chosen_one.pk)
        elif chosen_one is not None:
            measure(chosen_one)
        else:
            launch.answer(campaign, Answer.APPROVED, actor="ada")
        judge_measured(campaign.pk)
        services.advance(campaign.pk)
    rows = Trial.objects.of(campaign.pk).order_by("number")
    return campaign, list(rows.values_list("number", "role", "parent__number", "source_id", "score", "standing"))


@pytest.mark.django_db(transaction=True)
def test_a_search_with_a_person_ends_and_repeats_itself_whoever_is_faster() -> None:
    first, told = searched(1)
    second, again = searched(2)
    assert (first.state, first.state_reason) == ("finished", "all 8 trials are done")
    assert told == again and len(told) == 9
    subjects = list(first.approvals.values_list("subject", "answer"))
    assert ("keep", "approved") in subjects and ("trials", "approved") in subjects
    assert books_are_right(first) and books_are_right(second)
    provisional = {row[0] for row in told if row[5] == "provisional"}
    assert not provisional & {row[2] for row in told}
