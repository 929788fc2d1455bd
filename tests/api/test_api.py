"""The JSON interface: who gets in, what it answers, and that its numbers are the pages' numbers."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import URLPattern
from django.utils import timezone

from autoresearch_site import api
from tests.factories import finish, make_campaign, run_trial, start, submit
from trials import analytics
from trials.models import ApiToken, Campaign, Trial
from trials.services.tokens import TokenError, make_token, revoke_token
from trials.site_models import SiteEvent
from trials.vocab import CampaignState

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(2)</script>"


@pytest.fixture(autouse=True)
def _no_counts() -> None:
    cache.clear()


@pytest.fixture
def reader() -> User:
    return User.objects.create_user("reader")


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss")


@pytest.fixture
def campaign() -> Campaign:
    made = make_campaign()
    run_trial(made, 2.4, parent=None)
    run_trial(made, 2.1, role="optimization")
    run_trial(made, 2.3)
    return Campaign.objects.get(pk=made.pk)


class Program:
    """A program with a token."""

    def __init__(self, user: User, *scopes: str) -> None:
        self.secret = make_token(user, "notebook", scopes or ["read"], 90, actor="test")
        self._client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {self.secret}"})

    def get(self, address: str, status: int = 200) -> Any:
        answer = self._client.get(f"/api/v1/{address}")
        assert answer.status_code == status, (address, answer.content[:300])
        return answer.json()

    def post(self, address: str, body: Any = None, status: int = 200) -> Any:
        answer = self._client.post(f"/api/v1/{address}", json.dumps(body), content_type="application/json")
        assert answer.status_code == status, (address, answer.content[:300])
        return answer.json()


@pytest.fixture
def program(reader: User) -> Program:
    return Program(reader)


def addresses() -> list[str]:
    """Every address of the interface, filled in with the campaign of the tests."""
    patterns, _, _ = api.urls()
    found = []
    for each in patterns:
        assert isinstance(each, URLPattern)
        route = str(each.pattern).replace("<slug>", "toy-search").replace("<int:number>", "0")
        found.append(route)
    return found


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer art_nothing", "Basic cmVhZGVyOng=", "Bearer \u00e9"])
def test_nobody_gets_in_without_a_token(client: Client, campaign: Campaign, reader: User, header: str) -> None:
    client.force_login(reader)  # a cookie is no token
    for address in addresses():
        if address in ("", "openapi.json"):
            continue
        for verb in (client.get, client.post):
            answer = verb(f"/api/v1/{address}", headers={"Authorization": header} if header else {})
            assert answer.status_code in (401, 405), (address, answer.status_code)
            assert EVIL not in answer.content.decode()


def test_a_token_that_is_revoked_expired_or_orphaned_opens_nothing(program: Program, reader: User) -> None:
    program.get("me")
    token = ApiToken.objects.get()
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    program.get("me", 401)
    ApiToken.objects.update(expires_at=None)
    assert program.get("me")["expires_at"] is None
    User.objects.update(is_active=False)
    program.get("me", 401)
    User.objects.update(is_active=True)
    revoke_token(token, actor="test")
    program.get("me", 401)
    assert [event.kind for event in SiteEvent.objects.filter(kind__startswith="token")] == [
        "token_made",
        "token_revoked",
    ]


def test_the_secret_is_stored_nowhere(program: Program, reader: User) -> None:
    program.get("me")
    token = ApiToken.objects.get()
    stored = json.dumps({name: str(value) for name, value in vars(token).items()})
    told = "".join(event.body for event in SiteEvent.objects.all())
    assert program.secret not in stored + told
    assert token.shown == program.secret[:8]
    assert token.used_at is not None


def test_campaigns_are_paged_and_say_what_they_are(program: Program, campaign: Campaign) -> None:
    for number in range(4):
        make_campaign(name=f"Search {number}")
    first = program.get("campaigns?limit=3")
    second = program.get(f"campaigns?limit=3&before={first['next']}")
    assert [each["slug"] for each in first["items"] + second["items"]] == [
        "search-3", "search-2", "search-1", "search-0", "toy-search",
    ]  # fmt: skip
    assert second["next"] is None
    one = program.get("campaigns/toy-search")
    assert one == second["items"][1]
    assert (one["best_score"], one["best_trial"], one["keeps"], one["trials"]) == (2.1, 1, 1, 2)
    assert one["improvement"] == pytest.approx((2.1 - 2.4) / 2.4)
    assert one["score_source"] == "evaluator"


def test_trials_are_paged_and_filtered(program: Program, campaign: Campaign) -> None:
    first = program.get("campaigns/toy-search/trials?limit=2")
    assert [row["number"] for row in first["items"]] == [0, 1]
    second = program.get(f"campaigns/toy-search/trials?limit=2&after={first['next']}")
    assert ([row["number"] for row in second["items"]], second["next"]) == ([2], None)
    kept = program.get("campaigns/toy-search/trials?label=keep")["items"]
    assert [(row["number"], row["role"], row["score"]) for row in kept] == [(1, "optimization", 2.1)]
    assert program.get("campaigns/toy-search/trials?role=architecture&label=keep")["items"] == []


def test_a_campaign_is_followed_by_its_events(program: Program, campaign: Campaign) -> None:
    seen: list[int] = []
    since = 0
    while True:
        answer = program.get(f"campaigns/toy-search/events?since={since}&limit=2")
        seen += [event["seq"] for event in answer["items"]]
        since = answer["next"]
        if not answer["more"]:
            break
    assert seen == list(range(1, campaign.last_seq + 1))
    assert program.get(f"campaigns/toy-search/events?since={since}")["items"] == []
    order = start(submit(campaign))
    finish(order, 2.0)
    fresh = program.get(f"campaigns/toy-search/events?since={since}")["items"]
    assert {event["trial"]["number"] for event in fresh if event["trial"]} == {3}
    assert fresh[-1]["trial"]["score"] == 2.0
    assert fresh[0]["previous_sha256"] == campaign.head_sha256


def test_a_trial_is_told_whole_and_its_text_is_text(program: Program, campaign: Campaign) -> None:
    run_trial(campaign, 2.2, hypothesis=EVIL)
    told = program.get("campaigns/toy-search/trials/3")
    trial = Trial.objects.get(campaign=campaign, number=3)
    assert told["hypothesis"] == EVIL
    assert told["diff"] and told["diff_cut"] is False
    assert told["source_sha256"] == trial.source_id
    assert [row["score"] for row in told["measurements"]] == [2.2]
    assert told["measurements"][0]["record"]["seed"] == told["measurements"][0]["seed"]


def test_figures_are_those_of_the_pages_and_of_the_rows(program: Program, client: Client, campaign: Campaign) -> None:
    rows = program.get("campaigns/toy-search/trials")["items"]
    counted = Counter(row["label"] for row in rows if row["label"] != "baseline")
    told = program.get("campaigns/toy-search/labels")
    assert {each["label"]: each["trials"] for each in told} == dict(counted)
    assert program.get("campaigns/toy-search/frontier") == [
        {"number": step.number, "score": step.score, "role": step.role, "hours": step.hours}
        for step in analytics.frontier(campaign)
    ]
    best, line = None, []
    for row in rows:
        if best is None or row["score"] < best:
            best = row["score"]
            line.append(row["number"])
    assert [step["number"] for step in program.get("campaigns/toy-search/frontier")] == line
    roles = {each["role"]: each for each in program.get("campaigns/toy-search/roles")}
    assert roles["optimization"]["keeps"] == 1
    assert sum(bin["trials"] for bin in program.get("campaigns/toy-search/throughput")) == len(rows)
    client.force_login(User.objects.get(username="reader"))
    chart = client.get("/campaigns/toy-search/charts/labels.json").json()
    assert sum(each["trials"] for each in told) == sum(int(row[1]) for row in chart["table"]["rows"])


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("campaigns/none", 404, "there is no campaign 'none'"),
        ("campaigns/toy-search/trials/99", 404, "has no trial 99"),
        ("campaigns/toy-search/trials/3/log", 404, "trial 3 has no log yet"),
        ("campaigns/toy-search/report", 404, "has not been computed yet"),
        ("campaigns/toy-search/trials?label=nonsense", 422, "label"),
        ("campaigns/toy-search/trials?after=x", 422, "after"),
        ("campaigns/toy-search/trials?after=99999999999", 422, "after"),
        ("campaigns/toy-search/events?limit=1001", 422, "limit"),
        ("campaigns?before=-1", 422, "before"),
    ],
)
def test_bad_requests_get_one_clear_answer(
    program: Program, campaign: Campaign, address: str, status: int, said: str
) -> None:
    submit(campaign)
    assert said in json.dumps(program.get(address, status), ensure_ascii=False)


def test_steering_wants_scope_and_permission(reader: User, boss: User, campaign: Campaign) -> None:
    assert "expected steer" in Program(boss).post("campaigns/toy-search/pause", status=403)["detail"]
    assert "may not steer" in Program(reader, "read", "steer").post("campaigns/toy-search/pause", status=403)["detail"]
    program = Program(boss, "read", "steer")
    assert program.post("campaigns/toy-search/pause")["state"] == "paused"
    assert "toy" in program.post("campaigns/toy-search/pause", status=409)["detail"].lower()
    assert program.get("campaigns/toy-search")["weight"] == 1
    assert program.post("campaigns/toy-search/weight", {"weight": 4})["weight"] == 4
    assert "weight: 0 is out of range" in program.post("campaigns/toy-search/weight", {"weight": 0}, 422)["detail"]
    Program(reader, "read", "steer").post("campaigns/toy-search/weight", {"weight": 2}, 403)
    assert program.post("campaigns/toy-search/stop")["state_reason"] == "stopped by boss"
    assert "shares nothing" in program.post("campaigns/toy-search/weight", {"weight": 2}, 409)["detail"]
    assert Campaign.objects.get().state == CampaignState.STOPPED
    reader.user_permissions.add(Permission.objects.get(codename="add_campaign"))
    assert Program(User.objects.get(pk=reader.pk)).get("me")["may_launch"] is True


def test_a_campaign_is_launched(boss: User, reader: User) -> None:
    program = Program(boss, "read", "steer")
    made = program.post(
        "campaigns",
        {"environment": "parameter_golf", "profile": "smoke", "trials": 3, "weight": 2, "name": "By a program"},
        201,
    )
    assert (made["slug"], made["state"], made["created_by"]) == ("by-a-program", "running", "boss")
    found = program.get("campaigns/by-a-program")
    assert (found["max_trials"], found["weight"]) == (3, 2)
    environments = {each["name"]: each for each in program.get("environments")}
    assert "smoke" in environments["parameter_golf"]["profiles"]
    assert "unknown" in program.post("campaigns", {"environment": "nothing"}, 422)["detail"]
    assert "slots" in json.dumps(program.post("campaigns", {"environment": "parameter_golf", "slots": "x"}, 422))
    assert "extra" in json.dumps(program.post("campaigns", {"environment": "parameter_golf", "slot": 2}, 422))
    Program(reader, "steer").post("campaigns", {"environment": "parameter_golf"}, 403)
    assert Campaign.objects.count() == 1


def test_requests_of_a_token_are_limited(program: Program, boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
    throttle = api.LIMIT
    monkeypatch.setattr(throttle, "num_requests", 3)
    for _ in range(3):
        program.get("me")
    program.get("me", 429)
    Program(boss).get("me")  # each token has its own


def test_the_description_is_open_and_complete(client: Client) -> None:
    told = client.get("/api/v1/openapi.json").json()
    assert told["openapi"].startswith("3.")
    paths = set(told["paths"])
    assert "/api/v1/campaigns/{slug}/events" in paths
    assert len(paths) == len({each for each in addresses() if each not in ("", "openapi.json")})
    for path, verbs in told["paths"].items():
        for verb, operation in verbs.items():
            assert operation["security"], (path, verb)
            assert operation["description"], (path, verb)


@pytest.mark.parametrize(
    ("name", "scopes", "days", "said"),
    [
        ("", ["read"], 1, "name has 0"),
        ("x" * 61, ["read"], 1, "name has 61"),
        ("x", [], 1, "scopes are none"),
        ("x", ["all"], 1, "scopes are all"),
        ("x", ["read"], 0, "days are 0"),
    ],
)
def test_tokens_that_cannot_be_made(reader: User, name: str, scopes: list[str], days: int, said: str) -> None:
    with pytest.raises(TokenError, match=said):
        make_token(reader, name, scopes, days, actor="test")
    assert not ApiToken.objects.exists()


def test_the_page_shows_a_new_token_once(client: Client, reader: User) -> None:
    client.force_login(reader)
    assert "No token yet" in client.get("/tokens/").content.decode()
    answer = client.post("/tokens/", {"name": EVIL, "days": 7})
    html = answer.content.decode()
    assert answer["Cache-Control"].startswith("max-age=0")
    secret = html.split('<code class="secret">')[1].split("<")[0]
    assert EVIL not in html
    again = client.get("/tokens/").content.decode()
    assert secret not in again
    assert secret[:8] in again
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/v1/me", headers=headers).json()["scopes"] == ["read"]
    token = ApiToken.objects.get()
    client.force_login(User.objects.create_user("other"))
    assert client.post(f"/tokens/{token.pk}/revoke/").status_code == 404
    client.force_login(reader)
    assert client.get(f"/tokens/{token.pk}/revoke/").status_code == 405
    assert client.post(f"/tokens/{token.pk}/revoke/").status_code == 302
    assert client.get("/api/v1/me", headers=headers).status_code == 401
    bad = client.post("/tokens/", {"name": "x", "days": 0})
    assert bad.status_code == 422
    assert "errorlist" in bad.content.decode()


def test_tokens_by_command(reader: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("api_token", "make", "reader", "--name", "cron", "--days", "0")
    secret = capsys.readouterr().out.strip()
    assert Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/me").json()["token"] == "cron"
    token = ApiToken.objects.get()
    call_command("api_token", "list", "reader")
    assert f"{token.pk} usable {secret[:8]}" in capsys.readouterr().out
    call_command("api_token", "revoke", str(token.pk))
    assert ApiToken.objects.get().state == "revoked"
    for wrong in (["make", "nobody", "--name", "x"], ["revoke", "999"], ["make", "reader", "--name", " "]):
        with pytest.raises(CommandError):
            call_command("api_token", *wrong)
