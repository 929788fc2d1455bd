"""Pages of sessions: linked, escaped, bounded, for those who may see the campaign."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from specialists import lease, services, sessions
from specialists.models import Account, Session
from specialists.purses import purses
from specialists.transcript import PART_CHARACTERS
from specialists.vocab import SessionState
from tests.factories import finish, make_campaign, start, submit
from tests.specialists.llm_server import Asked, Broken, Reply, Use, serving
from tests.specialists.llm_tools import begin, hand_in, honest, llm_campaign, point_at, run

pytestmark = pytest.mark.django_db
SCRIPT = "<script>alert('x')</script>\u202e"


@pytest.fixture(autouse=True)
def _no_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 600.0)


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(User.objects.create_user("ada"))
    return client


def page(client: Client, address: str, **headers: Any) -> str:
    answer = client.get(address, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_session_is_shown_with_its_requests_and_costs(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(asked: Asked) -> Reply | Broken:
        if asked.turns == 0 and asked.number == 0:
            return Broken("status", 400, message=SCRIPT)
        if asked.turns == 0:
            return Reply(SCRIPT + "y" * 20_000, [Use("search_files", {"text": SCRIPT})])
        return hand_in(asked, f"{SCRIPT} should help.") if asked.turns > 1 else honest(asked)

    with serving(script) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign(slots=1)
        broken, good = run(begin(campaign)), run(begin(campaign))
    assert (broken.state, good.state) == ("failed", "submitted"), good.note
    text = page(reader, f"/campaigns/{campaign.slug}/sessions/{good.number}/")
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text and "[U+202E]" in text
    assert "\u202e" not in text and "y" * (PART_CHARACTERS // 2) in text and "y" * (PART_CHARACTERS + 1) not in text
    assert "Call of tool" in text and "claude-opus-4-8" in text and f"/trials/{good.trial.number}/" in text  # type: ignore[union-attr]
    failed = page(reader, f"/campaigns/{campaign.slug}/sessions/{broken.number}/")
    assert "<script>alert" not in failed and "status_code: 400" in failed
    whole = reader.get(f"/campaigns/{campaign.slug}/sessions/{good.number}/calls/1.json")
    assert whole.headers["Content-Type"] == "application/json" and "attachment" in whole.headers["Content-Disposition"]
    assert "y" * 20_000 in json.dumps(whole.json()["received"])
    listed = page(reader, f"/campaigns/{campaign.slug}/sessions/")
    assert f"/sessions/{good.number}/" in listed and "genai-prices" in listed and "provider" in listed


def test_trial_and_campaign_lead_to_the_session(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(honest) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign()
        session = run(begin(campaign))
    assert session.trial is not None
    address = f"/campaigns/{campaign.slug}/sessions/{session.number}/"
    assert f'href="{address}"' in page(reader, session.trial.get_absolute_url())
    assert f'href="/campaigns/{campaign.slug}/sessions/"' in page(reader, campaign.get_absolute_url())


def test_many_requests_come_in_pages(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda asked: Reply(f"turn {asked.turns}.", [Use("list_files")])) as server:
        point_at(monkeypatch, server, LLM_SESSION_TURNS="23")
        campaign = llm_campaign()
        session = run(begin(campaign))
    first = page(reader, f"/campaigns/{campaign.slug}/sessions/{session.number}/")
    assert "turn 19." in first and "turn 20." not in first and "?after=20" in first
    second = page(reader, f"/campaigns/{campaign.slug}/sessions/{session.number}/?after=20")
    assert "turn 20." in second and "turn 22." in second and "turn 19." not in second
    assert reader.get(f"/campaigns/{campaign.slug}/sessions/{session.number}/?after=x").status_code == 404


def test_sessions_without_a_model_have_a_page_too(reader: Client) -> None:
    campaign = make_campaign(proposer="catalog")
    finish(start(submit(campaign, parent=None)), 2.0)
    services.advance(campaign.pk)
    session = Session.objects.filter(campaign=campaign)[0]
    services.run_session(session.pk)
    assert f"Session {session.number}" in page(reader, f"/campaigns/{campaign.slug}/sessions/{session.number}/")
    assert "Used so far" not in page(reader, f"/campaigns/{campaign.slug}/sessions/")


def test_what_another_agent_left_is_shown_as_it_was_kept(reader: Client) -> None:
    campaign = make_campaign(proposer="command")
    finish(start(submit(campaign, parent=None)), 2.0)
    services.advance(campaign.pk)
    session = sessions.claim(Session.objects.filter(campaign=campaign)[0].pk)
    assert session is not None
    kept = json.dumps({"prompt": SCRIPT, "seconds": 2.5})
    assert sessions.close(session, SessionState.FAILED, note="no", view="evidence", transcript=kept)
    text = page(reader, f"/campaigns/{campaign.slug}/sessions/{session.number}/")
    assert "&lt;script&gt;alert" in text and "<script>alert" not in text and "2.5" in text


def test_strangers_and_wrong_numbers_get_nothing(client: Client) -> None:
    campaign = make_campaign()
    for address in ("sessions/", "sessions/0/", "sessions/0/calls/1.json"):
        assert client.get(f"/campaigns/{campaign.slug}/{address}").status_code == 302
    client.force_login(User.objects.create_user("ada"))
    assert client.get(f"/campaigns/{campaign.slug}/sessions/7/").status_code == 404
    assert client.get("/campaigns/none/sessions/").status_code == 404


def test_the_list_of_campaigns_says_what_is_left_of_the_money(
    reader: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    with serving(honest) as server:
        point_at(monkeypatch, server, LLM_CAMPAIGN_USD="5.00", LLM_SESSION_USD="4")
        limited = llm_campaign(name="Limited")
        monkeypatch.delenv("LLM_CAMPAIGN_USD")
        free = llm_campaign(name="Free")
        for campaign in (limited, free):
            run(begin(campaign))
    catalogue = make_campaign(name="Catalogue")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT session.campaign_id, sum(call.cost) FROM specialists_call AS call"
            " JOIN specialists_session AS session ON session.id = call.session_id GROUP BY 1"
        )
        paid = dict(cursor.fetchall())
    assert set(paid) == {limited.pk, free.pk} and all(paid.values())
    found = purses([limited, free, catalogue])
    assert {pk: (purse.paid, purse.left) for pk, purse in found.items()} == {
        limited.pk: (paid[limited.pk], 5 - paid[limited.pk]),
        free.pk: (paid[free.pk], None),
    }
    cards = page(reader, "/", **{"HX-Request": "true"}).split('<li class="campaign-card"')[1:]
    money = {card.split('"')[1]: re.findall(r"data-money>([^<]*)<", card) for card in cards}
    assert money == {
        "catalogue": [],
        "free": [f"${paid[free.pk]:.2f} paid"],
        "limited": [f"${5 - paid[limited.pk]:.2f} of $5.00 left"],
    }
    with CaptureQueriesContext(connection) as few:
        page(reader, "/", **{"HX-Request": "true"})
    for number in range(9):
        llm_campaign(name=f"More {number}")
    with django_assert_num_queries(len(few)):
        page(reader, "/", **{"HX-Request": "true"})
    Account.objects.filter(campaign=limited, role="").update(unpriced=2)
    assert "2 requests not priced" in page(reader, "/", **{"HX-Request": "true"})
