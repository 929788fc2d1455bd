"""A trial measured again: measurements are added with fresh seeds, all that is recorded stays, whatever the state."""

from __future__ import annotations

import json
import re
import statistics
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from scipy import stats

from evaluators.services import judge_measured
from specialists import services as loop
from tests.bundles.records import exported, golf_campaign, try_one, verified
from tests.factories import make_campaign, record, run_trial, submit
from tests.trials.test_services import chain_is_whole
from trials.again import again
from trials.models import Campaign, Evaluation, Event, Measurement, Trial
from trials.services import campaigns, leases, remeasures
from trials.services.campaigns import WrongState
from trials.services.tokens import make_token
from trials.vocab import CampaignState, EventKind, Label, Purpose

pytestmark = pytest.mark.django_db
FIELDS = [field.attname for field in Trial._meta.concrete_fields]


@pytest.fixture
def campaign() -> Campaign:
    made = golf_campaign()
    try_one(made, 2.4, parent=None)
    try_one(made, 2.1)
    return Campaign.objects.get(pk=made.pk)


def order(campaign: Campaign, number: int = 1, seeds: int = 3) -> list[Evaluation]:
    return remeasures.order(campaign.pk, number, seeds, actor="ada", enqueue=lambda pk: None)


def work(campaign: Campaign, *scores: float | None) -> None:
    """Evaluators measure what waits, in its order; None: the recipe crashes."""
    waiting = Evaluation.objects.in_flight().filter(campaign=campaign, purpose=Purpose.REMEASURE).order_by("pk")
    for each, score in zip(list(waiting), scores, strict=False):
        claimed = leases.claim_evaluation(each.pk, "host:1")
        assert claimed is not None
        body = record(score, status="crash" if score is None else "ok", seed=each.seed, train_units=1, eval_units=1)
        assert leases.post_measurement(each.pk, claimed.attempt, body, b"")
    judge_measured(campaign.pk)


def frozen(campaign: Campaign) -> list[Any]:
    rows = [*Trial.objects.of(campaign.pk).order_by("number").values(*FIELDS)]
    now = Campaign.objects.get(pk=campaign.pk)
    names = (
        "best_score",
        "start_score",
        "best_trial_id",
        "keep_count",
        "trial_count",
        "noise_sd",
        "state",
        "aborts_in_a_row",
    )
    return [rows, [getattr(now, name) for name in names]]


def test_measurements_are_added_and_nothing_recorded_changes(campaign: Campaign) -> None:
    before, had = frozen(campaign), Measurement.objects.count()
    orders = order(campaign)
    assert len({each.seed for each in orders} | {campaign.seed}) == 4
    work(campaign, 2.2, None, 2.16)
    assert frozen(campaign) == before and Measurement.objects.count() == had + 3
    events = list(Event.objects.filter(campaign=campaign, trial__number=1).order_by("seq"))[-4:]
    assert [event.kind for event in events] == [EventKind.REMEASURE_ORDERED, *[EventKind.TRIAL_REMEASURED] * 3]
    assert (events[0].actor, events[0].payload) == ("ada", {"number": 1, "seeds": [each.seed for each in orders]})
    assert [event.payload["score"] for event in events[1:]] == [2.2, None, 2.16]
    hashes = Measurement.objects.filter(purpose=Purpose.REMEASURE).order_by("pk").values_list("sha256", flat=True)
    assert [event.payload["measurement"] for event in events[1:]] == list(hashes)
    assert chain_is_whole(campaign)
    again_ordered = order(campaign, seeds=remeasures.MOST_SEEDS)
    assert not {each.seed for each in again_ordered} & {each.seed for each in orders}


def test_the_mean_and_its_interval_are_those_of_the_fresh_seeds(campaign: Campaign) -> None:
    order(campaign, seeds=4)
    scores = [2.2, 2.16, 2.11, 2.18]
    work(campaign, *scores)
    found = again(Trial.objects.select_related("campaign").get(campaign=campaign, number=1))
    low, high = stats.t.interval(0.95, 3, loc=statistics.fmean(scores), scale=stats.sem(scores))
    assert found.mean is not None and found.scores == scores
    assert (found.mean.mean, found.mean.low, found.mean.high) == pytest.approx(
        (statistics.fmean(scores), low, high), rel=1e-3
    )
    told = found.as_json(Trial.objects.get(campaign=campaign, number=1))
    assert (told["seeds"], told["recorded"], told["open"]) == (4, 2.1, 0)


def test_what_waits_can_be_cancelled_and_what_was_measured_stays(campaign: Campaign) -> None:
    orders = order(campaign)
    claimed = leases.claim_evaluation(orders[1].pk, "host:1")
    assert claimed is not None
    work(campaign, 2.2)
    assert remeasures.cancel(campaign.pk, 1, actor="bob") == 2
    event = Event.objects.get(campaign=campaign, kind=EventKind.REMEASURE_CANCELLED)
    assert (event.actor, event.payload["seeds"]) == ("bob", [each.seed for each in orders[1:]])
    assert not leases.heartbeat(claimed.pk, claimed.attempt, phase="train", progress=0.5)
    assert not leases.post_measurement(claimed.pk, claimed.attempt, record(2.0), b"")
    assert Measurement.objects.filter(purpose=Purpose.REMEASURE).count() == 1
    with pytest.raises(WrongState, match="is not being measured again"):
        remeasures.cancel(campaign.pk, 1, actor="bob")


@pytest.mark.parametrize("state", [CampaignState.PAUSED, CampaignState.STOPPED, CampaignState.FAILED])
def test_the_end_of_a_search_neither_hinders_nor_cancels_it(campaign: Campaign, state: CampaignState) -> None:
    order(campaign, seeds=1)
    campaigns.change_state(campaign.pk, state, actor="ada", reason="")
    work(campaign, 2.2)
    order(campaign, seeds=2)
    sent: list[int] = []
    Evaluation.objects.filter(campaign=campaign).update(sent_at=timezone.now() - timedelta(hours=1))
    assert list(Campaign.objects.at_work()) == [Campaign.objects.get(pk=campaign.pk)]
    sent += leases.take_unsent(campaign.pk, timedelta(minutes=1))
    assert len(sent) == 2
    work(campaign, 2.3, 2.4)
    assert (state in ("paused", "running")) == Campaign.objects.at_work().exists()
    assert Measurement.objects.filter(purpose=Purpose.REMEASURE).count() == 3


def test_it_takes_no_slot_of_the_search(campaign: Campaign) -> None:
    before = loop.situation(Campaign.objects.get(pk=campaign.pk))
    order(campaign)
    after = loop.situation(Campaign.objects.get(pk=campaign.pk))
    assert (after.measuring, after.repeats, after.open_trials) == (before.measuring, before.repeats, before.open_trials)


def test_an_evaluator_that_fails_three_times_closes_it_and_the_campaign_goes_on(campaign: Campaign) -> None:
    [one] = order(campaign, seeds=1)
    for _ in range(leases.MAX_ATTEMPTS):
        claimed = leases.claim_evaluation(one.pk, "host:1")
        assert claimed is not None
        leases.give_back(one.pk, claimed.attempt, "the disk is full")
    judge_measured(campaign.pk)
    one.refresh_from_db()
    assert (one.state, one.outcome["label"]) == ("judged", Label.HARNESS_ABORT)
    campaign.refresh_from_db()
    assert (campaign.state, campaign.aborts_in_a_row) == ("running", 0)


def test_what_cannot_be_measured_again_is_said(campaign: Campaign) -> None:
    submit(campaign)
    for number, seeds, told in (
        (2, 3, "is queued, expected a finished one"),
        (9, 3, "has no trial 9"),
        (1, 0, "seeds is 0"),
        (1, 11, "seeds is 11"),
    ):
        with pytest.raises(ValueError, match=told):
            order(campaign, number, seeds)
    order(campaign)
    with pytest.raises(WrongState, match="is being measured again already"):
        order(campaign)


def test_bundles_carry_it_and_a_forged_score_is_found(campaign: Campaign, tmp_path: Any) -> None:
    order(campaign)
    work(campaign, 2.2, None, 2.16)
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="ada", reason="")
    order(campaign)
    work(campaign, 2.2)
    remeasures.cancel(campaign.pk, 1, actor="ada")
    report = verified(exported(campaign, tmp_path))
    assert report["failures"] == [] and report["checked"]["labels derived from measurements"] == 2 + 4


def test_only_who_steers_measures_again_on_the_page(client: Client, campaign: Campaign) -> None:
    address = f"{campaign.get_absolute_url()}trials/1/"
    client.force_login(User.objects.create_user("viewer"))
    assert "Measure again" not in client.get(address).content.decode()
    assert client.post(f"{address}remeasure/", {"seeds": "2"}).status_code == 403
    assert client.post(f"{address}remeasure/cancel/").status_code == 403
    client.force_login(User.objects.create_superuser("boss"))
    assert "Measure again…" in client.get(address).content.decode()
    assert "expected 1 to 10" in client.post(f"{address}remeasure/", {"seeds": "x"}, follow=True).content.decode()
    html = client.post(f"{address}remeasure/", {"seeds": "2"}, follow=True).content.decode()
    assert "measured again on 2 fresh seeds" in html and "2 to go." in html and "every 2s" in html
    [first, _] = Evaluation.objects.filter(purpose=Purpose.REMEASURE).order_by("pk")
    claimed = leases.claim_evaluation(first.pk, "host:1")
    assert claimed is not None
    leases.heartbeat(first.pk, claimed.attempt, phase="train", progress=0.25)
    piece = client.get(f"{address}remeasure/").content.decode()
    assert "<html" not in piece and re.search(r'train <progress max="1" value="0.25"', piece)
    html = client.post(f"{address}remeasure/cancel/", follow=True).content.decode()
    assert "cancelled" in html and "to go." not in html and "every 2s" not in html


def test_programs_and_the_command_do_the_same(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    boss, reader = User.objects.create_superuser("boss"), User.objects.create_user("reader")
    address = f"/api/v1/campaigns/{campaign.slug}/trials/1/remeasure"
    for user, scopes, expected in (
        (reader, ["read", "steer"], 403),
        (boss, ["read"], 403),
        (boss, ["read", "steer"], 200),
    ):
        program = Client(headers={"Authorization": f"Bearer {make_token(user, 'p', scopes, 1, actor='test')}"})
        answer = program.post(address, {"seeds": 2}, content_type="application/json")
        assert answer.status_code == expected, answer.content
    assert answer.json()["open"] == 2
    assert program.post(address, {"seeds": 2}, content_type="application/json").status_code == 409
    work(campaign, 2.2)
    assert program.delete(address).json()["open"] == 0
    assert program.post(address, {"seeds": 99}, content_type="application/json").status_code == 422
    told = program.get(address).json()
    assert [(one["state"], one["score"]) for one in told["measured"]] == [("judged", 2.2), ("cancelled", None)]
    call_command("remeasure", campaign.slug, "1", "--seeds", "1", "--json")
    assert json.loads(capsys.readouterr().out)["open"] == 1
    call_command("remeasure", campaign.slug, "1", "--cancel")
    assert "open: 0" in capsys.readouterr().out
    for arguments, said in (((campaign.slug, "7"), "no trial 7"), (("none", "1"), "does not exist")):
        with pytest.raises(CommandError, match=said):
            call_command("remeasure", *arguments)


def test_an_imported_run_has_no_such_form(client: Client) -> None:
    made = make_campaign()
    run_trial(made, 2.4, parent=None)
    Campaign.objects.filter(pk=made.pk).update(bundle={"slug": "x"}, state="finished")
    client.force_login(User.objects.create_superuser("boss"))
    assert "Measure again" not in client.get(f"{made.get_absolute_url()}trials/0/").content.decode()
    with pytest.raises(WrongState, match="its record is closed"):
        order(Campaign.objects.get(pk=made.pk), 0)
