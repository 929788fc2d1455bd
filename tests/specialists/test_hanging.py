"""What hangs and why: each reason from rows that the services wrote, on the page and in the command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from specialists import tasks, turns
from specialists.models import Account, Session
from specialists.operations import page, ticking, waits
from specialists.vocab import ProposerName, SessionState
from tests.conftest import ROOT
from tests.factories import make_campaign, record, run_trial, start, submit
from trials.access import visible_campaigns
from trials.models import Campaign, Evaluation
from trials.services import (
    answers,
    approvals,
    campaigns,
    leases,
    maintenance,
    people,
    remeasures,
    shares,
    workers,
)
from trials.vocab import Answer, CampaignState

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(minutes=7)


@pytest.fixture(autouse=True)
def _ticks() -> Iterator[None]:
    ticking.ticked()
    yield
    cache.delete(ticking.KEY)


def worker(name: str = "host:1", **changes: Any) -> None:
    values = {"device": "cpu", "device_name": "toy", "devices": 1, "memory_bytes": 1 << 34, "level": "L3"}
    workers.announce(workers.Capability(name=name, **values | changes))


def kinds(campaign: Campaign | None = None) -> list[tuple[str, bool]]:
    found = waits.hanging()
    return [(wait.kind, wait.hangs) for wait in found if campaign is None or wait.campaign == campaign.slug]


def only(kind: str) -> waits.Wait:
    [found] = [wait for wait in waits.hanging() if wait.kind == kind]
    return found


def long_ago(**names: Any) -> None:
    Evaluation.objects.filter(**names.pop("of", {})).update(**{name: timezone.now() - LONG_AGO for name in names})


def test_nothing_hangs_where_an_evaluator_is_at_work() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    worker()
    start(submit(campaign))
    assert waits.hanging() == []


def test_a_queue_without_a_worker_says_what_to_start() -> None:
    campaign = make_campaign()
    submit(campaign, parent=None)
    long_ago(queued_at=True)
    found = only("no_worker")
    assert found.hangs and found.campaign == campaign.slug and found.told == "no evaluator is running"
    assert found.act == "start a worker for the queue evaluators.cpu whose isolation reaches L2"
    assert found.since is not None and timezone.now() - found.since >= LONG_AGO
    worker(level="L1")
    assert only("no_fit").told == "host:1 reaches L1, the campaign wants L2"
    worker(level="L2", memory_bytes=1)
    assert "GiB of memory" in only("no_fit").told
    worker()
    assert kinds() == [("queue", False)]
    [order] = Evaluation.objects.all()
    leases.put_off(order.pk, "accelerators are busy: card 0; 1 needed, 0 of 1 free")
    assert kinds() == [("device_busy", False)]
    Evaluation.objects.update(fault="")
    claimed = leases.claim_evaluation(order.pk, "host:1")
    assert claimed is not None
    leases.give_back(order.pk, claimed.attempt, "HarnessFault: the reference is missing in /data")
    assert only("retried").told == "an attempt failed: HarnessFault: the reference is missing in /data"


def test_a_silent_evaluator_that_nobody_replaces() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    start(submit(campaign))
    long_ago(lease_expires_at=True)
    found = only("lease_expired")
    assert found.hangs and "nobody has taken its trial over" in found.told
    start(submit(campaign), "host:2")
    assert only("lease_expired").count == 1
    Evaluation.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=2))
    assert kinds() == [("lease_expired", False)], "the next tick takes it over"


def measured(order: Evaluation) -> None:
    claimed = leases.claim_evaluation(order.pk, "host:1")
    assert claimed is not None and leases.post_measurement(order.pk, claimed.attempt, record(2.0), b"")
    long_ago(of={"pk": order.pk}, measured_at=True)


def test_measurements_that_nobody_judges_and_those_that_wait_in_order() -> None:
    campaign = make_campaign(slots=4)
    run_trial(campaign, 2.4, parent=None)
    submit(campaign)
    measured(Evaluation.objects.get(trial=submit(campaign)))
    worker()
    assert kinds() == [("judge", True), ("queue", False)]
    Campaign.objects.update(reproducible=True)
    assert {kind for kind, _ in kinds()} == {"queue", "held_back"}
    uncalibrated = make_campaign(keep_rule="verified")
    measured(Evaluation.objects.get(trial=submit(uncalibrated, parent=None)))
    assert kinds(uncalibrated) == [("held_back", False)]


def test_whose_share_is_used_waits_for_whoever_is_next() -> None:
    campaigns_ = [make_campaign(name=name, slots=4) for name in ("light", "heavy")]
    campaigns.weigh(campaigns_[1].pk, 3, actor="anna")
    for campaign in campaigns_:
        run_trial(campaign, 2.4, parent=None)
        submit(campaign)
        submit(campaign)
    worker()
    chance = next(chance for chance in shares.waiting("cpu") if chance.campaign == campaigns_[0].pk)
    assert leases.claim_evaluation(chance.order, "host:1", chance) is not None
    long_ago(of={"pk": chance.order}, claimed_at=True)
    found = only("share")
    assert (found.campaign, found.hangs) == ("light", False)
    assert found.told == "its share of evaluators.cpu is used: weight 1 of the 4 that wait, 1 other is next"
    assert kinds(campaigns_[1]) == [("queue", False)]
    rows = {share.campaign.slug: share for share in page.context(User.objects.create_superuser("anna"))["shares"]}
    assert (rows["light"].weight, rows["light"].part, rows["light"].running, rows["light"].waiting) == (1, 0.25, 1, 1)
    assert (rows["heavy"].part, rows["heavy"].running, rows["heavy"].waiting) == (0.75, 0, 2)


def test_paused_by_a_person_or_by_a_breaker() -> None:
    one, two = make_campaign(), make_campaign()
    campaigns.change_state(one.pk, CampaignState.PAUSED, actor="anna", reason="paused by anna")
    campaigns.change_state(two.pk, CampaignState.PAUSED, actor="breaker", reason="3 infrastructure failures in a row")
    assert kinds(one) == [("paused", True)] and kinds(two) == [("breaker", True)]
    assert only("paused").act == "resume it" and only("paused").since is not None
    assert only("breaker").told == "3 infrastructure failures in a row"


def test_a_person_is_asked() -> None:
    campaign = make_campaign(checkpoints={"trials": 1})
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.3)
    approvals.ask_for_budget(Campaign.objects.get(), "trials", 1.0)
    found = only("approval")
    assert found.hangs and found.told == "a person has to approve more trials" and campaign.slug in found.act
    answers.answer(campaign.pk, Answer.APPROVED, actor="anna")
    assert "approval" not in dict(kinds())


def test_sessions_that_nobody_takes_or_closes() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    now = timezone.now()
    made = Session.objects.create(
        campaign=campaign, number=0, role="loss", seed=0, started_at=now - LONG_AGO, lease_expires_at=now
    )
    assert only("no_agent_worker").told == "no worker of the queue agents has taken the session"
    Session.objects.filter(pk=made.pk).update(worker="host:9", lease_expires_at=now - LONG_AGO)
    assert only("lease_expired").hangs and "closed its session" in only("lease_expired").told
    Session.objects.update(lease_expires_at=now + LONG_AGO)
    assert kinds() == []


def opened(campaign: Campaign, number: int, **changes: Any) -> Session:
    """A session that has waited for long, or has become what ``changes`` say."""
    since = timezone.now() - LONG_AGO
    values = {"role": "loss", "seed": 0, "started_at": since, "lease_expires_at": timezone.now() + LONG_AGO}
    return Session.objects.create(campaign=campaign, number=number, **values | changes)


def test_a_session_waits_for_its_turn_while_workers_have_those_of_other_campaigns() -> None:
    small, big = make_campaign(name="small", slots=2), make_campaign(name="big", slots=4)
    campaigns.weigh(big.pk, 3, actor="anna")
    for campaign in (small, big):
        run_trial(campaign, 2.4, parent=None)
    opened(small, 0)
    held = [opened(big, number, worker="host:9") for number in range(2)]
    opened(big, 2)
    User.objects.create_user("anna")
    people.restrict(big, [], actor="test")

    def told(among: Any = None) -> dict[str, tuple[str, str, bool]]:
        return {wait.campaign: (wait.kind, wait.told, wait.hangs) for wait in waits.hanging(among)}

    turn = "waits for its turn at the workers of the queue agents"
    assert told() == {
        "big": ("agents_busy", f"{turn}; they have sessions now: 2 of its own", False),
        "small": ("agents_busy", f"{turn}; they have sessions now: 2 of big", False),
    }
    hidden = told(visible_campaigns(User.objects.get()))
    assert hidden == {"small": ("agents_busy", f"{turn}; they have sessions now: 2 of others", False)}
    turns.claim(held[0].pk)  # a ticket of this queue: the campaign that it goes to has used a part of its share
    first = Campaign.objects.get(sessions__in=Session.objects.exclude(worker="").exclude(worker="host:9"))
    opened(first, 7)
    assert told()[first.slug][1].endswith(f"; weight {shares.weight_of(first)} of the 4 that wait, 1 other is next")
    opened(make_campaign(name="elsewhere", proposer=ProposerName.LLM), 0)
    assert told()["elsewhere"][0] == "no_agent_worker", "that queue has workers of its own"

    Session.objects.exclude(worker="").update(lease_expires_at=timezone.now() - LONG_AGO)
    assert ("no_agent_worker", True) in kinds(small), "those that have fallen silent serve nobody"
    Session.objects.exclude(worker="").update(state=SessionState.NOTHING, ended_at=timezone.now())
    assert told()["small"][1].startswith(f"{turn}; they are between two sessions")
    Session.objects.exclude(worker="").update(ended_at=timezone.now() - LONG_AGO)
    assert kinds(small) == [("no_agent_worker", True)]
    maintenance.begin(actor="anna")
    assert dict(kinds()) == {"maintenance": True}, "no worker takes anything now"


def test_a_step_that_is_due_and_nobody_takes() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    assert kinds() == [], "somebody may take it any moment"
    Campaign.objects.update(last_recorded_at=timezone.now() - LONG_AGO)
    assert only("loop").told == "the next step (startsession) is due and nobody takes it"
    assert kinds(campaign) == [("loop", True)]


def test_budgets_and_failures() -> None:
    campaign = make_campaign()
    start(submit(campaign, parent=None))
    Account.objects.create(campaign=campaign, role="", closed="the campaign has used 5 of 5 US dollars", failures=2)
    Account.objects.create(campaign=campaign, role="loss", closed="the role has used its 9 turns")
    assert kinds() == [("budget", True), ("budget", False), ("failing", False)]


def test_without_the_tick_all_campaigns_are_warned() -> None:
    cache.delete(ticking.KEY)
    assert waits.hanging() == [], "a site without a live campaign needs none"
    make_campaign()
    assert ("no_tick", True) in kinds()
    cache.delete("tick")  # one of another test may be just done
    tasks.tick()
    assert "no_tick" not in dict(kinds())
    cache.set(ticking.KEY, 1.0, None)
    assert only("no_tick").told.startswith("the periodic tick does not run")


def test_the_command_says_it_in_words_and_as_json() -> None:
    assert said() == "nothing waits\n"
    campaign = make_campaign(name="Toy \u202ename")
    submit(campaign, parent=None)
    long_ago(queued_at=True)
    assert said().startswith(f"HANGS  {campaign.slug} for 7 min ")
    told = json.loads(said(json=True))
    assert told["hanging"] == 1
    [wait] = told["waits"]
    assert (wait["kind"], wait["campaign"], wait["count"], wait["hangs"]) == ("no_worker", campaign.slug, 1, True)
    assert 420 <= wait["seconds"] < 1000 and wait["since"] < told["at"]


def said(**options: Any) -> str:
    out = StringIO()
    call_command("hanging", stdout=out, **options)
    return out.getvalue()


def busy(name: str) -> Campaign:
    """One trial at work, one that waits, one measured, an open session."""
    campaign = make_campaign(name=name, slots=4)
    run_trial(campaign, 2.4, parent=None)
    start(submit(campaign), f"{name}:1")
    submit(campaign)
    measured(Evaluation.objects.get(trial=submit(campaign)))
    now = timezone.now()
    Session.objects.create(campaign=campaign, number=0, role="a", seed=0, started_at=now, lease_expires_at=now)
    worker(f"{name}:1")
    worker(f"{name}:2")
    return campaign


def test_the_page_costs_the_same_queries_at_any_size() -> None:
    User.objects.create_user("anna")
    busy("one")
    with CaptureQueriesContext(connection) as few:
        page.context(User.objects.get())
    for name in ("two", "three", "four"):
        busy(name)
    with CaptureQueriesContext(connection) as many:
        found = page.context(User.objects.get())
    assert len(found["holders"]) == 8 and len(found["sessions"]) == 4
    assert len(few) == len(many) <= 28
    assert not any('FROM "trials_trial"' in (query["sql"] or "") for query in many)


def test_the_page_shows_who_runs_what_and_hides_what_is_not_for_everybody() -> None:
    shown, hidden = busy("shown"), busy("secret")
    start(submit(shown, role="optimization"), "gone:1")  # of a worker that is not heard of
    people.restrict(hidden, [], actor="test")
    user = User.objects.create_user("anna")
    client = Client()
    client.force_login(user)
    text = client.get("/workers/").content.decode()
    assert hidden.name not in text.replace("secret:", "") and "you do not see" in text
    found = page.context(user)
    states = {holder.name: (holder.state, holder.campaign and holder.campaign.slug) for holder in found["holders"]}
    assert states == {
        "shown:1": ("busy", shown.slug), "shown:2": ("free", None), "secret:1": ("busy", None),
        "secret:2": ("free", None), "gone:1": ("silent", shown.slug),
    }  # fmt: skip
    queues = {queue.name: (queue.waiting, queue.working, queue.listening) for queue in found["queues"]}
    assert queues == {
        "evaluators.cpu": (2, 3, 4), "agents": (2, 0, None), "agents.models": (0, 0, None), "default": (2, 0, None),
    }  # fmt: skip
    assert {session.campaign_id for session in found["sessions"]} == {shown.pk}
    assert {wait.campaign for wait in waits.hanging(visible_campaigns(user))} == {shown.slug}
    assert [share.campaign.slug for share in found["shares"]] == ["shown"] and found["shares"][0].part == 0.5
    fragment = client.get("/workers/", headers={"HX-Request": "true"}).content.decode()
    assert fragment.lstrip().startswith('<div id="workers"') and "<html" not in fragment
    assert client.get("/workers/head.json").json() == {"seq": Campaign.objects.get(pk=shown.pk).last_seq}


def test_what_is_measured_again_after_the_end_of_a_search_is_shown_too() -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="ada", reason="")
    first, _ = remeasures.order(campaign.pk, 0, 2, actor="ada", enqueue=lambda pk: None)
    user = User.objects.create_user("anna")
    assert kinds() == [("no_worker", True)]
    worker()
    assert leases.claim_evaluation(first.pk, "host:1") is not None
    [holder] = page.context(user)["holders"]
    assert (holder.state, holder.campaign, holder.order) == ("busy", campaign, first)
    assert kinds() == [("queue", False)]
    assert page.seq_of(user) == Campaign.objects.get().last_seq
    remeasures.cancel(campaign.pk, 0, actor="ada")
    assert waits.hanging() == [] and page.seq_of(user) == 0


def test_the_manual_names_every_kind() -> None:
    source = Path(waits.__file__).read_text()
    named = set(re.findall(r'(?:wait\(\s*|kind = |Wait\("", "", "", )"(\w+)"', source)) | {"no_fit"}
    assert {"paused", "no_tick", "loop", "no_worker"} <= named
    manual = (ROOT / "docs" / "operating.md").read_text()
    assert sorted(kind for kind in named if f"`{kind}`" not in manual) == []
