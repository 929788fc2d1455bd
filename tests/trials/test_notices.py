"""Who is told of what: every kind once, to those who see it, signed, and again until it arrives."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.factories import calibrated, make_campaign, measure_repeats, run_trial
from tests.trials.test_outbound import receiver
from trials.models import Campaign
from trials.notice_models import Delivery, Watch, Webhook
from trials.services import campaigns, notices, people
from trials.vocab import CampaignState, DeliveryState, Notice

pytestmark = pytest.mark.django_db
EVERY = [str(kind) for kind in Notice if kind is not Notice.TEST]
EVIL = "<script>alert(2)</script>"


@pytest.fixture(autouse=True)
def _local(settings: Any) -> None:
    settings.WEBHOOK_NETWORKS = [ipaddress.ip_network("127.0.0.0/8")]


@pytest.fixture
def user() -> User:
    return User.objects.create_user("listener")


def hook(user: User, url: str = "http://127.0.0.1:9/", campaign: Campaign | None = None, *kinds: str) -> Webhook:
    return notices.make_webhook(user, url, kinds or EVERY, campaign)


def told() -> list[tuple[str, str, Any]]:
    """Kind, campaign and the telling part of every message, oldest first."""
    notices.look()
    notices.look()
    parts = ("trial", "state", "minutes")
    return [
        (one.kind, one.body["campaign"], next((one.body[name] for name in parts if name in one.body), None))
        for one in Delivery.objects.order_by("pk")
    ]


def test_bests_ends_and_the_breaker_are_told_once(user: User) -> None:
    campaign = make_campaign(max_trials=100)
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.3)
    hook(user)
    run_trial(campaign, 2.2, hypothesis=EVIL)
    run_trial(campaign, 2.25)
    for _ in range(3):
        run_trial(campaign, None, "harness_abort")
    campaigns.change_state(campaign.pk, CampaignState.RUNNING, actor="ada", reason="")
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="ada", reason="enough")
    assert told() == [
        ("breaker", "toy-search", "paused"), ("finished", "toy-search", "stopped"), ("best", "toy-search", 2),
    ]  # fmt: skip
    best = Delivery.objects.get(kind="best")
    assert (best.body["score"], best.body["hypothesis"]) == (2.2, EVIL)
    assert Delivery.objects.get(kind="finished").body["reason"] == "enough"
    Watch.objects.update(seq=0, step=0)  # a look that is taken twice tells nothing twice
    assert len(told()) == 3


def test_a_provisional_trial_is_told_when_it_is_confirmed(user: User) -> None:
    campaign = calibrated()
    hook(user, "http://127.0.0.1:9/", campaign, "best")
    run_trial(campaign, 1.9)
    assert told() == []
    while Campaign.objects.get(pk=campaign.pk).keep_count == 0:
        assert measure_repeats(campaign, lambda order: 1.9 if order.trial.number else 2.0)
    assert told() == [("best", "toy-search", 1)]


def test_a_silence_is_told_once_and_the_next_one_again(user: User) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.4)
    hook(user)
    for hours in (3, 1):
        Campaign.objects.filter(pk=campaign.pk).update(last_recorded_at=timezone.now() - timedelta(hours=hours))
        told()
    assert [(kind, minutes) for kind, _, minutes in told()] == [("stalled", 180), ("stalled", 60)]
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.PAUSED)
    assert len(told()) == 2


def test_only_those_who_see_a_campaign_are_told(user: User) -> None:
    seen, hidden = make_campaign(name="Seen"), make_campaign(name="Hidden")
    for campaign in (seen, hidden):
        run_trial(campaign, 2.4, parent=None)
    people.restrict(hidden, ["listener"], actor="test")
    other, closed = User.objects.create_user("other"), User.objects.create_user("closed")
    mine, theirs = hook(user), hook(other)
    hook(other, "http://127.0.0.1:9/", seen, "finished")
    hook(closed)
    User.objects.filter(pk=closed.pk).update(is_active=False)
    for campaign in (seen, hidden):
        run_trial(campaign, 2.3)
    told()
    sent = {(one.webhook_id, one.body["campaign"]) for one in Delivery.objects.all()}
    assert sent == {(mine.pk, "seen"), (mine.pk, "hidden"), (theirs.pk, "seen")}
    people.restrict(hidden, [], actor="test")  # between the message and its delivery
    late = Delivery.objects.get(webhook=mine, campaign=hidden)
    assert notices.deliver(late.pk) is DeliveryState.FAILED
    late.refresh_from_db()
    assert "does not see" in late.told


def test_a_message_is_signed_and_arrives(user: User) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    with receiver(200) as server:
        made = hook(user, server.url, campaign)
        run_trial(campaign, 2.1)
        [due] = notices.look()
        assert notices.deliver(due) is DeliveryState.SENT and notices.deliver(due) is None
    [(_, headers, body)] = server.got
    moment, mac = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", headers["X-Autoresearch-Signature"]).groups()  # type: ignore[union-attr]
    assert hmac.new(made.secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest() == mac
    found = json.loads(body)
    assert (found["kind"], found["trial"], found["score"], found["page"]) == (
        "best",
        1,
        2.1,
        campaign.get_absolute_url(),
    )
    assert headers["X-Autoresearch-Delivery"] == str(due) and made.secret not in body.decode()
    message = Delivery.objects.get(pk=due)
    assert (message.attempts, message.told) == (1, "answered 200") and message.sent_at is not None


def test_what_does_not_arrive_is_tried_again_and_given_up_at_last(user: User) -> None:
    with receiver(500, 302, 200) as server:
        made = hook(user, server.url)
        message = notices.send_test(made)
        waits = []
        for _ in range(3):
            assert message.pk in notices.look()
            notices.deliver(message.pk)
            message.refresh_from_db()
            if message.state == DeliveryState.QUEUED:
                assert notices.look() == []
                waits.append(round((message.due_at - timezone.now()).total_seconds(), -1))
                Delivery.objects.update(due_at=timezone.now())
    assert (message.state, message.attempts, waits) == ("sent", 3, [30, 120])
    lost = notices.send_test(made)  # nobody listens any more
    for _ in range(len(notices.WAITS) + 1):
        Delivery.objects.update(due_at=timezone.now())
        notices.deliver(lost.pk)
    lost.refresh_from_db()
    assert lost.state == DeliveryState.FAILED and lost.told.startswith("given up after 6 attempts")


def test_an_address_that_turned_private_is_not_asked(user: User, settings: Any) -> None:
    with receiver() as server:
        message = notices.send_test(hook(user, server.url))
        settings.WEBHOOK_NETWORKS = []
        assert notices.deliver(message.pk) is DeliveryState.FAILED
    assert server.got == []
    message.refresh_from_db()
    assert "expected a public address" in message.told


def test_the_page_makes_tries_and_removes(client: Client, user: User, settings: Any) -> None:
    campaign = make_campaign()
    client.force_login(user)
    assert "None yet." in client.get("/webhooks/").content.decode()
    made = client.post("/webhooks/", {"url": "http://127.0.0.1:9/x", "campaign": campaign.slug, "kinds": ["best"]})
    [webhook] = Webhook.objects.all()
    assert webhook.secret in made.content.decode() and webhook.secret not in client.get("/webhooks/").content.decode()
    assert (webhook.campaign, webhook.kinds) == (campaign, ["best"])
    settings.WEBHOOK_NETWORKS = []
    for asked, said in (
        ({"url": "https://127.0.0.1/", "kinds": ["best"]}, "expected a public address"),
        ({"url": "https://8.8.8.8/", "kinds": []}, "required"),
        ({"url": "https://8.8.8.8/", "kinds": ["best"], "campaign": "none"}, "there is no campaign"),
        ({"url": "https://8.8.8.8/", "kinds": ["test"]}, "not one of the available"),
    ):
        answer = client.post("/webhooks/", asked)
        assert answer.status_code == 422 and said in answer.content.decode(), said
    other = Client()
    other.force_login(User.objects.create_user("other"))
    assert other.post(f"/webhooks/{webhook.pk}/remove/").status_code == 404
    assert other.post(f"/webhooks/{webhook.pk}/test/").status_code == 404
    assert client.post(f"/webhooks/{webhook.pk}/remove/").status_code == 302
    assert not Webhook.objects.exists()


def test_only_so_many_addresses(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MOST_WEBHOOKS", 2)
    hook(user)
    hook(user)
    with pytest.raises(notices.NoticeError, match="remove one first"):
        hook(user)
