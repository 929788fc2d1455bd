"""Live sockets of the running site, spoken to as a browser would."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.factories import finish, make_campaign, run_trial, start, submit
from trials import consumers, live
from trials.models import Campaign, Event
from trials.services import leases
from trials.services.events import append_event
from trials.vocab import EventKind

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 20


@contextmanager
def joined(
    site_url: str, slug: str, *, cookie: str = "", origin: str = "", **options: Any
) -> Iterator[ClientConnection]:
    host = urlsplit(site_url).netloc
    headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}"} if cookie else {}
    with connect(
        f"ws://{host}/ws/campaigns/{slug}/",
        origin=origin or site_url,  # type: ignore[arg-type]
        additional_headers=headers,
        max_size=None,
        **options,
    ) as link:
        yield link


@pytest.fixture
def cookie() -> str:
    client = Client()
    client.force_login(User.objects.create_user("viewer"))
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


@pytest.fixture
def campaign() -> Campaign:
    campaign = make_campaign(max_trials=1000)
    run_trial(campaign, 2.4, parent=None)
    campaign.refresh_from_db()
    return campaign


def ask(link: ClientConnection, after: int) -> None:
    link.send(json.dumps({"type": "catch_up", "after": after}))


LEFT: WeakKeyDictionary[ClientConnection, list[dict[str, Any]]] = WeakKeyDictionary()
"""Messages of a frame that a test has not taken yet."""


def take(link: ClientConnection) -> dict[str, Any]:
    """The next message, alone or out of a frame."""
    left = LEFT.setdefault(link, [])
    if not left:
        message: dict[str, Any] = json.loads(link.recv(SECONDS))
        left += message["messages"] if message["type"] == "frame" else [message]
    return left.pop(0)


def until_head(link: ClientConnection) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What came before the next head, and the head."""
    messages = []
    while True:
        message = take(link)
        if message["type"] == "head":
            return messages, message
        messages.append(message)


@pytest.mark.parametrize("case", ["nobody", "closed account", "no campaign", "other origin"])
def test_who_may_not_look_is_refused_at_the_handshake(
    site_url: str, campaign: Campaign, cookie: str, case: str
) -> None:
    chosen: dict[str, str] = {"slug": campaign.slug, "cookie": cookie}
    if case == "nobody":
        chosen["cookie"] = ""
    elif case == "closed account":
        User.objects.update(is_active=False)
    elif case == "no campaign":
        chosen["slug"] = "another"
    else:
        chosen["origin"] = "http://evil.example"
    with pytest.raises(InvalidStatus) as refused, joined(site_url, **chosen):
        pass
    assert refused.value.response.status_code == 403


def test_a_catch_up_answers_what_came_after_a_number(site_url: str, campaign: Campaign, cookie: str) -> None:
    with joined(site_url, campaign.slug, cookie=cookie) as link:
        ask(link, 1)
        messages, head = until_head(link)
    assert [message["seq"] for message in messages] == list(range(2, campaign.last_seq + 1))
    event = Event.objects.select_related("trial", "trial__parent").get(campaign=campaign, seq=campaign.last_seq)
    assert messages[-1] == json.loads(json.dumps(live.event_message(event, event.trial)))
    assert head == {"type": "head", "campaign": live.campaign_head(campaign), "more": False}


def test_long_catch_ups_come_in_pages(site_url: str, campaign: Campaign, cookie: str) -> None:
    with transaction.atomic():
        locked = Campaign.objects.locked(campaign.pk)
        for number in range(consumers.PAGE + 20):
            append_event(locked, EventKind.SESSION_STARTED, "loop", {"session": number})
    campaign.refresh_from_db()
    after, found = 0, []
    with joined(site_url, campaign.slug, cookie=cookie) as link:
        while after < campaign.last_seq:
            ask(link, after)
            messages, head = until_head(link)
            assert len(messages) <= consumers.PAGE
            assert head["more"] is (messages[-1]["seq"] < campaign.last_seq)
            found += [message["seq"] for message in messages]
            after = found[-1]
    assert found == list(range(1, campaign.last_seq + 1))


def test_events_and_progress_are_pushed(site_url: str, campaign: Campaign, cookie: str) -> None:
    with joined(site_url, campaign.slug, cookie=cookie) as link:
        ask(link, campaign.last_seq)
        assert until_head(link)[0] == []
        evaluation = start(submit(campaign))
        leases.heartbeat(evaluation.pk, evaluation.attempt, phase="train", progress=0.25)
        finish(evaluation, 2.2)
        messages = [take(link) for _ in range(4)]
    kinds = [message.get("kind", message["type"]) for message in messages]
    assert kinds == ["trial_submitted", "trial_started", "progress", "trial_finished"]
    assert messages[2] == {"type": "progress", "trial": 1, "phase": "train", "progress": 0.25}
    assert messages[3]["trial"]["label"] == "keep"
    assert messages[3]["campaign"]["best_score"] == 2.2
    assert [messages[index]["seq"] for index in (0, 1, 3)] == [campaign.last_seq + step for step in (1, 2, 3)]


def test_campaigns_do_not_hear_each_other(site_url: str, campaign: Campaign, cookie: str) -> None:
    other = make_campaign(name="Other")
    with joined(site_url, other.slug, cookie=cookie) as link:
        ask(link, 1)
        until_head(link)
        submit(campaign)
        submit(other, parent=None)
        message = take(link)
    assert (message["kind"], message["trial"]["number"]) == ("trial_submitted", 0)


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", '{"type":"catch_up"}', '{"type":"catch_up","after":-1}', '{"type":"other","after":1}',
             '{"type":"catch_up","after":true}', '{"type":"catch_up","after":1e400}', '{"type":"catch_up","after":"1"}']
)  # fmt: skip
def test_anything_but_a_catch_up_ends_the_socket(site_url: str, campaign: Campaign, cookie: str, text: str) -> None:
    with joined(site_url, campaign.slug, cookie=cookie) as link:
        link.send(text)
        with pytest.raises(ConnectionClosed) as closed:
            link.recv(SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400


def test_a_closed_account_gets_no_further_answer(site_url: str, campaign: Campaign, cookie: str) -> None:
    with joined(site_url, campaign.slug, cookie=cookie) as link:
        ask(link, campaign.last_seq)
        until_head(link)
        User.objects.update(is_active=False)
        ask(link, 0)
        with pytest.raises(ConnectionClosed) as closed:
            link.recv(SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


def test_a_slow_tab_is_told_of_a_gap_and_holds_up_nobody(site_url: str, campaign: Campaign, cookie: str) -> None:
    host = urlsplit(site_url)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect((host.hostname, host.port))
    pushes = consumers.QUEUE_LENGTH * 4
    with (
        joined(site_url, campaign.slug, cookie=cookie, sock=narrow, max_queue=1, compression=None) as slow,
        joined(site_url, campaign.slug, cookie=cookie, compression=None, max_queue=None) as fast,
    ):
        for link in (slow, fast):
            ask(link, campaign.last_seq)
            until_head(link)
        for _ in range(pushes):
            live.publish_progress(campaign.slug, 0, "x" * 20_000, 0.5)
        submit(campaign)
        while take(fast)["type"] != "event":
            pass
        received = 0
        while (message := take(slow))["type"] == "progress":
            received += 1
        assert message["type"] == "gap"
        assert received < pushes
        ask(slow, campaign.last_seq)
        messages, head = until_head(slow)
    assert head["campaign"]["seq"] == campaign.last_seq + 1
    assert any(message["type"] == "event" for message in messages)


def test_a_burst_comes_in_few_frames_and_nothing_of_it_is_lost(site_url: str, campaign: Campaign, cookie: str) -> None:
    many = consumers.QUEUE_LENGTH - 20
    with joined(site_url, campaign.slug, cookie=cookie) as link:
        ask(link, campaign.last_seq)
        until_head(link)
        for number in range(many):
            live.push(live.group_name(campaign.slug), {"type": "event", "seq": number})
        frames, found = 0, []
        while len(found) < many:
            message = json.loads(link.recv(SECONDS))
            frames += message["type"] == "frame"
            found += [each["seq"] for each in message.get("messages", [message])]
    assert found == list(range(many)) and frames >= 1


def test_the_queue_of_a_socket_is_bounded() -> None:
    async def fill() -> list[str]:
        consumer = consumers.CampaignConsumer()
        consumer.waiting, consumer.wake = consumers.deque(), asyncio.Event()
        consumer.arrived = consumers.deque(maxlen=consumers.ALONE)
        lengths = []
        for number in range(consumers.QUEUE_LENGTH * 3):
            await consumer.campaign_message({"message": {"type": "event", "seq": number}})
            lengths.append(len(consumer.waiting))
        assert max(lengths) <= consumers.QUEUE_LENGTH
        return [message["type"] for message in consumer.waiting]

    kinds = asyncio.run(fill())
    assert kinds[0] == "gap"
    assert kinds.count("gap") == 1
