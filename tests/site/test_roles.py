"""Every address and every socket as each role and as nobody: what opens, what does not, and none is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from specialists import launch
from tests.factories import make_campaign, run_trial
from trials.models import Campaign
from trials.routing import websocket_urlpatterns
from trials.services import people
from trials.services.roles import make_roles
from trials.services.tokens import make_token

pytestmark = pytest.mark.django_db(transaction=True)
OPEN, LOGIN, REFUSED, MISSING = 200, 302, 403, 404
#: Parts of addresses, filled in so that what they name exists.
PARTS = {
    "<slug:slug>": "toy-search", "<int:number>": "0", "<slug:name>.json": "frontier.json", "<int:call>.json": "0.json",
    "<path:name>": "results.tsv", "<int:pk>": "1",
}  # fmt: skip
#: Addresses of a campaign that are for some people only, whoever may see it.
STEERING = ("readers/", "pause/", "resume/", "stop/", "weight/")


def addresses() -> list[str]:
    """All of the site's own addresses: admin and API have tests of their own."""
    found: list[str] = []

    def walk(patterns: list[URLPattern | URLResolver], before: str) -> None:
        for each in patterns:
            route = before + str(each.pattern)
            if isinstance(each, URLResolver):
                if not route.startswith(("admin/", "api/")):
                    walk(each.url_patterns, route)
                continue
            for part, value in PARTS.items():
                route = route.replace(part, value)
            assert "<" not in route, f"{route}: say in PARTS what stands there"
            found.append("/" + route)

    walk(get_resolver().url_patterns, "")
    return found


@dataclass
class People:
    """One of each role, and the campaign's launcher, a researcher."""

    nobody: AnonymousUser
    viewer: User
    researcher: User
    launcher: User
    admin: User
    closed: User


@pytest.fixture
def folk() -> People:
    make_roles(apps.get_app_config("trials"), "default")  # tables are emptied between such tests
    made = {name: User.objects.create_user(name) for name in ("viewer", "researcher", "launcher", "admin", "closed")}
    for name, role in (
        ("viewer", "viewer"),
        ("researcher", "researcher"),
        ("launcher", "researcher"),
        ("admin", "admin"),
    ):
        made[name].groups.add(Group.objects.get(name=role))
    User.objects.filter(username="closed").update(is_active=False)
    return People(AnonymousUser(), *(User.objects.get(username=name) for name in made))


@pytest.fixture
def campaign(folk: People) -> Campaign:
    made = make_campaign()
    Campaign.objects.filter(pk=made.pk).update(created_by=folk.launcher)
    run_trial(made, 2.4, parent=None)
    run_trial(made, 2.1)
    return Campaign.objects.get(pk=made.pk)


def status(user: User | AnonymousUser, address: str) -> int:
    client = Client()
    if isinstance(user, User):
        client.force_login(user)
    answer = client.get(address)
    if answer.status_code == LOGIN:
        assert answer["Location"].startswith("/login/"), address
    return answer.status_code


def of_campaign() -> Iterator[str]:
    return (address for address in addresses() if address.startswith("/campaigns/toy-search/"))


def test_nobody_and_closed_accounts_are_sent_to_the_log_in(campaign: Campaign, folk: People) -> None:
    for address in addresses():
        if address in ("/login/", "/logout/"):
            continue
        if address == "/metrics":  # read by programs, which no log-in page helps
            assert {status(folk.nobody, address), status(folk.closed, address)} == {REFUSED}
            continue
        assert status(folk.nobody, address) == LOGIN, address
        assert status(folk.closed, address) == LOGIN, address


def test_each_role_opens_what_it_should(campaign: Campaign, folk: People) -> None:
    for address in of_campaign():
        steering = address.endswith(STEERING)
        for user in (folk.viewer, folk.researcher):
            got = status(user, address)
            assert got in ((REFUSED, 405) if steering else (OPEN, MISSING, 405)), (user.username, address, got)
        for user in (folk.launcher, folk.admin):
            assert status(user, address) in (OPEN, MISSING, 405), (user.username, address)
    everyone = (folk.viewer, folk.researcher, folk.launcher, folk.admin)
    assert [status(user, "/metrics") for user in everyone] == [REFUSED, REFUSED, REFUSED, OPEN]
    assert {user.username: status(user, "/launch/") for user in (folk.viewer, folk.researcher, folk.admin)} == {
        "viewer": REFUSED,
        "researcher": OPEN,
        "admin": OPEN,
    }


def test_a_restricted_campaign_is_not_there_for_others(campaign: Campaign, folk: People) -> None:
    people.restrict(campaign, ["viewer"], actor="test")
    for address in of_campaign():
        assert status(folk.researcher, address) in (MISSING, 405), address
        for user in (folk.viewer, folk.launcher, folk.admin):
            assert status(user, address) != LOGIN, (user.username, address)
    shown = {
        user.username: campaign.name in page(user, "/")
        for user in (folk.researcher, folk.viewer, folk.launcher, folk.admin)
    }
    assert shown == {"researcher": False, "viewer": True, "launcher": True, "admin": True}
    people.restrict(campaign, None, actor="test")
    assert status(folk.researcher, campaign.get_absolute_url()) == OPEN


def page(user: User, address: str) -> str:
    client = Client()
    client.force_login(user)
    return client.get(address).content.decode()


def opens(site_url: str, user: User | AnonymousUser, path: str) -> bool:
    """Whether a socket of the running site is accepted."""
    client = Client()
    if isinstance(user, User):
        client.force_login(user)
    found = client.cookies.get(settings.SESSION_COOKIE_NAME)
    headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={found.value}"} if found else {}
    try:
        with connect(f"ws://{urlsplit(site_url).netloc}{path}", origin=site_url, additional_headers=headers):  # type: ignore[arg-type]
            return True
    except InvalidStatus as refused:
        assert refused.response.status_code == 403, path
        return False


def sockets() -> list[str]:
    """Addresses of all sockets of campaigns; those of studies show what their campaigns show."""
    found = ["/" + str(each.pattern).replace("<slug:slug>", "toy-search") for each in websocket_urlpatterns]
    assert found and not any("<" in path for path in found)
    return found


def test_sockets_open_for_whom_their_pages_open(site_url: str, campaign: Campaign, folk: People) -> None:
    for path in sockets():
        assert not opens(site_url, folk.nobody, path)
        assert not opens(site_url, folk.closed, path)
        for user in (folk.viewer, folk.researcher, folk.launcher, folk.admin):
            assert opens(site_url, user, path), (user.username, path)
    people.restrict(campaign, ["viewer"], actor="test")
    for path in sockets():
        opened = {
            user.username
            for user in (folk.viewer, folk.researcher, folk.launcher, folk.admin)
            if opens(site_url, user, path)
        }
        assert opened == {"viewer", "launcher", "admin"}


def test_the_socket_of_the_workers_page_is_for_whoever_is_logged_in(site_url: str, folk: People) -> None:
    opened = [opens(site_url, user, "/ws/workers/") for user in (folk.nobody, folk.closed, folk.viewer)]
    assert opened == [False, False, True]


def test_an_open_page_ends_when_its_reader_is_left_out(site_url: str, campaign: Campaign, folk: People) -> None:
    client = Client()
    client.force_login(folk.viewer)
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    [path] = sockets()
    with connect(
        f"ws://{urlsplit(site_url).netloc}{path}",
        origin=site_url,
        additional_headers={"Cookie": cookie},  # type: ignore[arg-type]
    ) as link:
        link.send(json.dumps({"type": "catch_up", "after": 0}))
        assert json.loads(link.recv(20))["messages"][-1]["type"] == "head"
        people.restrict(campaign, ["researcher"], actor="test")
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                assert json.loads(link.recv(20))["type"] != "recheck"
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4403


def test_the_interface_for_programs_shows_the_same(campaign: Campaign, folk: People) -> None:
    people.restrict(campaign, ["viewer"], actor="test")
    for user, seen in ((folk.researcher, False), (folk.viewer, True), (folk.launcher, True), (folk.admin, True)):
        secret = make_token(user, "program", ["read", "steer"], 1, actor="test")
        client = Client(headers={"Authorization": f"Bearer {secret}"})
        assert client.get("/api/v1/campaigns/toy-search").status_code == (OPEN if seen else MISSING)
        assert len(client.get("/api/v1/campaigns").json()["items"]) == int(seen)
        steered = client.post("/api/v1/campaigns/toy-search/pause").status_code
        assert steered in {"researcher": [404], "viewer": [403], "launcher": [200], "admin": [409]}[user.username]


def test_a_start_may_not_be_read_from_what_one_does_not_see(campaign: Campaign, folk: People) -> None:
    people.restrict(campaign, [], actor="test")
    chosen = launch.LaunchSettings("parameter_golf", profile="smoke", start_from="toy-search")
    with pytest.raises(launch.LaunchError) as other:
        launch.validate(chosen, folk.researcher)
    assert "toy-search' is unknown, expected one of none" in str(other.value)
    with pytest.raises(launch.LaunchError) as own:  # its toy files are no recipe, but they were looked at
        launch.validate(chosen, folk.launcher)
    assert "cannot start here" in str(own.value)


def test_the_admin_lists_what_its_pages_show(campaign: Campaign, folk: People) -> None:
    User.objects.filter(username__in=["researcher", "viewer"]).update(is_staff=True)
    for user in (folk.researcher, folk.viewer):
        user.user_permissions.add(*Permission.objects.filter(codename__in=["view_campaign", "change_campaign"]))
    people.restrict(campaign, ["viewer"], actor="test")
    client = Client()
    for name, seen in (("researcher", False), ("viewer", True)):
        client.force_login(User.objects.get(username=name))
        listed = client.get("/admin/trials/campaign/")
        assert listed.status_code == OPEN
        assert (campaign.name in listed.content.decode()) is seen, name
        client.post("/admin/trials/campaign/", {"action": "pause", "_selected_action": [campaign.pk]})
        assert Campaign.objects.get().state == ("paused" if seen else "running")
