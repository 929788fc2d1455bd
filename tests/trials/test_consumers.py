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
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.factories import finish, make_campaign, run_trial, start, submit
from trials import catch_up, consumers, hub, live
from trials.models import Campaign, Event
from trials.people_models import Restriction
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
        for number in range(catch_up.PAGE + 20):
            append_event(locked, EventKind.SESSION_STARTED, "loop", {"session": number})
    campaign.refresh_from_db()
    after, found = 0, []
    with joined(site_url, campaign.slug, cookie=cookie) as link:
        while after < campaign.last_seq:
            ask(link, after)
            messages, head = until_head(link)
            assert len(messages) <= catch_up.PAGE
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
    pushes, size = hub.WAITING - 100, 20_000  # far more than a tab may have waiting and the kernel keeps for it
    with (
        joined(site_url, campaign.slug, cookie=cookie, sock=narrow, max_queue=1, compression=None) as slow,
        joined(site_url, campaign.slug, cookie=cookie, compression=None, max_queue=None) as fast,
    ):
        for link in (slow, fast):
            ask(link, campaign.last_seq)
            until_head(link)
        for number in range(pushes):
            live.publish_progress(campaign.slug, number, "x" * size, 0.5)
            if number % 100 == 99:  # not all of them in one frame, which a tab may have whatever its size
                assert [take(fast)["type"] for _ in range(100)] == ["progress"] * 100
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
    many = hub.WAITING - 20
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


def test_what_waits_for_a_tab_is_bounded_and_a_tab_that_is_behind_hears_no_more() -> None:
    tab = consumers.CampaignConsumer()
    tab.waiting, tab.waiting_bytes, tab.behind, tab.wake = consumers.deque(), 0, False, asyncio.Event()
    text, most = "x" * 1000, 0
    for _ in range(3 * consumers.QUEUE_BYTES // len(text)):
        tab.give(text)
        most = max(most, sum(map(len, tab.waiting)))
    assert consumers.QUEUE_BYTES - len(text) < most <= consumers.QUEUE_BYTES
    assert list(tab.waiting) == [hub.GAP]


class Ear:
    """A tab that only listens."""

    def __init__(self, account: int = 0) -> None:
        self.account, self.heard, self.code = account, list[dict[str, Any]](), 0
        self.longest = 0

    def give(self, text: str) -> None:
        message = json.loads(text)
        self.longest = max(self.longest, len(text))
        self.heard += message["messages"] if message["type"] == "frame" else [message]

    def end(self, code: int) -> None:
        self.code = code


async def pushed(slug: str, ears: list[Ear], messages: list[dict[str, Any]], until: int) -> None:
    """The messages go through the channel layer to a hub with these tabs, until each has heard so many."""
    joined = [await hub.join(slug, ear) for ear in ears]
    assert len(set(map(id, joined))) == 1
    layer = get_channel_layer()
    for message in messages:
        await layer.group_send(live.group_name(slug), {"type": "campaign.message", "message": message})
    async with asyncio.timeout(SECONDS):
        while any(len(ear.heard) < until and not ear.code for ear in ears):
            await asyncio.sleep(0.01)
    for ear in ears:
        await joined[0].leave(ear)
    await database_sync_to_async(connections.close_all)()
    assert not any(hubs for hubs in hub._hubs.values())


def test_of_a_trials_progress_only_the_newest_waits_and_behind_what_came_before() -> None:
    found = hub.Hub("slug")
    for share in (0.1, 0.2):
        found.take({"type": "progress", "trial": 1, "phase": "train", "progress": share})
        found.take({"type": "progress", "trial": 2, "phase": "train", "progress": share})
        found.take({"type": "event", "seq": share})
    waiting = [json.loads(text) for text in found._waiting.values()]
    assert [(each["type"], each.get("trial")) for each in waiting] == [
        ("event", None), ("progress", 1), ("progress", 2), ("event", None)
    ]  # fmt: skip
    assert [each["progress"] for each in waiting if each["type"] == "progress"] == [0.2, 0.2]


def test_more_than_a_hub_keeps_is_a_gap_for_everybody() -> None:
    found = hub.Hub("slug")
    for number in range(hub.WAITING + 1):
        found.take({"type": "event", "seq": number})
    assert list(found._waiting.values()) == [hub.GAP]


def test_few_tabs_get_messages_one_by_one_and_many_in_frames() -> None:
    found = hub.Hub("slug")
    for _ in range(hub.ALONE - 1):
        found.take({"type": "event", "seq": 1})
    assert not found.busy()
    found.tabs = {Ear() for _ in range(hub.DELIVERIES // 4)}
    assert found.busy()


def test_frames_are_bounded_and_hold_everything_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "FRAME_BYTES", 100)
    texts = [
        catch_up.encoded({"seq": number, "text": "x" * length}) for number, length in enumerate([1, 5, 60, 300, 0, 9])
    ]
    found = catch_up.frames(texts)
    told = [json.loads(text) for text in found]
    assert [each for message in told for each in message.get("messages", [message])] == [json.loads(t) for t in texts]
    assert [len(message.get("messages", [message])) for message in told] == [2, 1, 1, 2]
    assert [len(text) > 100 + len(catch_up.frame([])) for text in found] == [False, False, True, False]
    assert catch_up.frames([]) == []


def test_long_events_come_in_frames_of_bounded_size(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pushed to tabs, and as the answer to what a tab missed."""
    monkeypatch.setattr(catch_up, "FRAME_BYTES", 2_000)
    many, size = 2 * hub.ALONE, catch_up.FRAME_BYTES // 10
    messages: list[dict[str, Any]] = [{"type": "event", "seq": n, "text": "x" * size} for n in range(many)]
    ear = Ear()
    asyncio.run(pushed(campaign.slug, [ear], messages, many))
    assert ear.heard == messages and ear.longest <= catch_up.FRAME_BYTES + 100
    with transaction.atomic():
        locked = Campaign.objects.locked(campaign.pk)
        for number in range(25):
            append_event(locked, EventKind.SESSION_STARTED, "loop", {"session": number})
    account, after, seqs = User.objects.create_user("viewer").pk, locked.last_seq - 25, list[int]()
    more, pages = True, 0
    while more:
        [text] = catch_up.answers(campaign.slug, [(account, after)])
        *events, head = json.loads(text or "")["messages"]
        assert sum(len(catch_up.encoded(event)) for event in events) <= catch_up.FRAME_BYTES
        seqs += [event["seq"] for event in events]
        after, more, pages = seqs[-1], head["more"], pages + 1
    assert seqs == list(range(locked.last_seq - 24, locked.last_seq + 1)) and pages > 1


def test_all_tabs_of_a_process_hear_the_same_through_one_hub(campaign: Campaign) -> None:
    ears, many = [Ear(), Ear(), Ear()], 3 * hub.ALONE
    messages: list[dict[str, Any]] = [{"type": "event", "seq": number} for number in range(many)]
    asyncio.run(pushed(campaign.slug, ears, messages, many))
    assert all(ear.heard == messages for ear in ears)


def test_a_hub_of_each_process_hears_what_any_process_tells(site_url: str, campaign: Campaign, cookie: str) -> None:
    ear, last = Ear(), campaign.last_seq
    messages: list[dict[str, Any]] = [{"type": "event", "seq": last + number} for number in (1, 2, 3)]
    with joined(site_url, campaign.slug, cookie=cookie) as link:
        ask(link, last)
        until_head(link)
        asyncio.run(pushed(campaign.slug, [ear], messages, 3))
        assert [take(link) for _ in messages] == ear.heard == messages


def test_a_restriction_ends_the_tabs_that_may_not_look_and_no_others(campaign: Campaign) -> None:
    readers = [User.objects.create_user(name) for name in ("in", "out")]
    restriction = Restriction.objects.create(campaign=campaign)
    restriction.readers.add(readers[0])
    ears = [Ear(reader.pk) for reader in readers]
    asyncio.run(pushed(campaign.slug, ears, [live.RECHECK, {"type": "event", "seq": 7}], 1))
    assert [ear.code for ear in ears] == [0, hub.REFUSED]
    assert [ear.heard for ear in ears] == [[{"type": "event", "seq": 7}], []]


def test_who_asks_together_is_answered_from_one_look(campaign: Campaign) -> None:
    viewer, closed = User.objects.create_user("viewer"), User.objects.create_user("closed", is_active=False)
    with transaction.atomic():
        locked = Campaign.objects.locked(campaign.pk)
        for number in range(catch_up.PAGE):
            append_event(locked, EventKind.SESSION_STARTED, "loop", {"session": number})
    last = locked.last_seq
    afters = [0, 1, 1, catch_up.PAGE + 1, last - 1, last, last + 5]
    asked = [(viewer.pk, after) for after in afters]
    with CaptureQueriesContext(connection) as queries:
        *found, refused = catch_up.answers(campaign.slug, [*asked, (closed.pk, 0)])
    assert refused is None
    assert sum("trials_event" in (query["sql"] or "") for query in queries) == 2  # two stretches for seven questions
    for after, text in zip(afters, found, strict=True):
        *events, head = json.loads(text or "")["messages"]
        assert [event["seq"] for event in events][:1] == ([after + 1] if after < last else [])
        assert [event["seq"] - after for event in events] == list(range(1, len(events) + 1))
        assert head["campaign"]["seq"] == last
        assert head["more"] is bool(events and events[-1]["seq"] < last)
    assert found[1] is found[2]
