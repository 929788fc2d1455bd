"""Sessions with a language model over the real wire of both providers: what goes right, and all that goes wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from specialists import lease, services, sessions
from specialists.models import Account, Call, Session
from specialists.proposers.llm import client
from tests.factories import finish, start
from tests.specialists.llm_server import Asked, Broken, Reply, Use, serving
from tests.specialists.llm_tools import (
    APIS,
    GOOD,
    KEY,
    MODEL,
    after,
    begin,
    edit,
    honest,
    llm_campaign,
    point_at,
    priced,
    run,
    spent,
    surface_of,
)
from trials.models import Event, Trial
from trials.services.blobs import get_blob, get_text, get_tree

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 600.0)  # its thread would not see what this test has not committed


@pytest.mark.parametrize("stream", ["1", "0"])
@pytest.mark.parametrize("api", APIS)
def test_a_session_reads_edits_and_submits(api: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(honest) as server:
        point_at(monkeypatch, server, api, LLM_STREAM=stream)
        campaign = llm_campaign()
        session = run(begin(campaign))
    assert (session.state, session.fault, session.note) == ("submitted", "", "")
    trial = session.trial
    assert trial is not None and trial.parent is not None and trial.parent.number == 0
    assert (trial.hypothesis, trial.expected_delta, trial.proposal["evidence"]) == (GOOD, -0.01, [0])
    name = trial.surface[0]
    assert get_tree(trial.source_id)[name].startswith(b"x = 100")
    assert f"+++ b/{name}" in get_text(trial.diff_id)
    assert session.lineage_view_id == trial.lineage_view_id
    assert len(server.asked) == session.calls.count() == 3
    assert spent(campaign) == priced(campaign, server.charged, MODEL[api]) > 0


@pytest.mark.parametrize("api", APIS)
def test_the_transcript_holds_everything_and_no_key(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(honest) as server:
        point_at(monkeypatch, server, api)
        session = run(begin(llm_campaign()))
    assert session.transcript_id is not None
    manifest = json.loads(get_blob(session.transcript_id))
    assert [call["number"] for call in manifest["calls"]] == [1, 2, 3]
    bodies = [json.loads(get_blob(call["body"])) for call in manifest["calls"]]
    kinds = [[part["part_kind"] for message in body["sent"] for part in message["parts"]] for body in bodies]
    assert kinds == [["user-prompt"], ["tool-return"], ["tool-return"]]
    assert "I read first." in json.dumps(bodies[0]["received"])
    assert "Final result" in json.dumps(manifest["tail"])
    ended = Event.objects.get(kind="session_ended").payload
    assert ended["transcript"] == session.transcript_id
    assert ended["usage"]["requests"] == 3 and ended["usage"]["cost"] is not None
    assert any(KEY[api] in value for value in server.asked[0].headers.values())


def test_what_can_be_cached_is_marked_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(honest) as server:
        point_at(monkeypatch, server)
        session = run(begin(llm_campaign()))
    assert all("cache_control" in json.dumps(asked.body["system"]) for asked in server.asked)
    assert all("cache_control" in asked.body for asked in server.asked)
    counted = list(session.calls.values_list("cache_write_tokens", "cache_read_tokens"))
    assert counted[0][0] > 0 == counted[0][1]
    assert all(write == 0 < read_ for write, read_ in counted[1:])


PASSING = [
    Broken("status", 429, retry_after="1"),
    Broken("status", 500),
    Broken("status", 529),
    Broken("stream_error"),
    Broken("cut"),
    Broken("silent_end"),
    Broken("garbage"),
]


@pytest.mark.parametrize("broken", PASSING, ids=lambda broken: f"{broken.how}-{broken.status}")
@pytest.mark.parametrize("api", APIS)
def test_what_passes_is_tried_again(api: str, broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(after(broken)) as server:
        point_at(monkeypatch, server, api)
        campaign = llm_campaign()
        session = run(begin(campaign))
    assert session.state == "submitted", session.note
    failed, *others = session.calls.exclude(error="")
    assert (failed.number, others) == (2, [])
    assert session.calls.count() == len(server.asked) == 4
    assert spent(campaign) == priced(campaign, server.charged, MODEL[api])


def test_a_provider_is_waited_for_as_long_as_it_asks() -> None:
    class Asks(Exception):
        retry_after = 7.5

    assert client.pause_before(Asks(), 1.0) == 7.5
    assert client.pause_before(Asks(), 9.0) == 9.0
    Asks.retry_after = 1e9
    assert client.pause_before(Asks(), 1.0) == client.LONGEST_ASKED
    assert client.pause_before(TimeoutError(), 1.0) == 1.0


def test_pauses_grow_and_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 1.0)
    drawn = [[client._drawn(failed) for _ in range(50)] for failed in range(10)]
    for failed, pauses in enumerate(drawn):
        longest = min(client.LONGEST_PAUSE, 2.0**failed)
        assert all(longest / 2 <= pause <= longest for pause in pauses) and len(set(pauses)) > 40


@pytest.mark.parametrize("api", APIS)
def test_a_provider_that_stays_down_fails_the_session_after_its_tries(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(after(Broken("status", 503), turn=0, times=99)) as server:
        point_at(monkeypatch, server, api, LLM_RETRIES="2")
        session = run(begin(llm_campaign()))
    assert (session.state, session.fault, len(server.asked)) == ("failed", "provider", 3)
    assert "503" in session.note and session.calls.exclude(error="").count() == 3


@pytest.mark.parametrize("api", APIS)
def test_a_wrong_key_is_not_tried_again_and_not_repeated(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Broken("status", 401, message=f"Incorrect API key provided: {KEY[api]}")
    with serving(after(broken, turn=0)) as server:
        point_at(monkeypatch, server, api)
        session = run(begin(llm_campaign()))
    assert (session.state, session.fault, len(server.asked)) == ("failed", "provider", 1)
    assert "401" in session.note and "[key removed]" in session.note


@pytest.mark.parametrize("api", APIS)
def test_silence_is_an_outage(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(after(Broken("hang"), turn=0, times=99)) as server:
        point_at(monkeypatch, server, api, LLM_RETRIES="1", LLM_SILENCE_SECONDS="1")
        session = run(begin(llm_campaign()))
    assert (session.state, session.fault, len(server.asked)) == ("failed", "provider", 2)
    assert session.reserved_tokens == 0 == session.reserved_usd


@pytest.mark.parametrize("api", APIS)
def test_a_refusal_ends_the_session_in_words(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = "refusal" if api == "anthropic" else "content_filter"
    with serving(after(Reply("I cannot help with that.", stop=stop))) as server:
        point_at(monkeypatch, server, api)
        campaign = llm_campaign()
        session = run(begin(campaign))
    assert (session.state, session.fault) == ("failed", "model")
    assert session.note == "the model refused: I cannot help with that."
    assert spent(campaign) == priced(campaign, server.charged, MODEL[api])


@pytest.mark.parametrize("api", APIS)
def test_an_answer_without_a_tool_goes_back_twice_and_is_then_kept_as_failed(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda asked: Reply(f"My idea number {asked.turns} is a wider layer.")) as server:
        point_at(monkeypatch, server, api)
        session = run(begin(llm_campaign()))
    assert (session.state, session.fault, len(server.asked)) == ("failed", "model", 3)
    assert "My idea number 2" in "".join(get_text(call.body_id) for call in session.calls.all())


UNUSABLE: list[str | dict[str, Any]] = [
    '{"hypothesis": "Cut in the mid',
    {"hypothesis": "short"},
    {"hypothesis": "x" * 20_000},
    {"hypothesis": GOOD, "expected_delta": "NaN"},
    {"hypothesis": GOOD, "evidence": [77]},
    {"hypothesis": GOOD, "evidence": list(range(500))},
    {"hypothesis": GOOD, "role": "meta", "score": 0.1},
]


@pytest.mark.parametrize("arguments", UNUSABLE, ids=str)
@pytest.mark.parametrize("api", APIS)
def test_a_submission_that_cannot_be_used_goes_back(
    api: str, arguments: str | dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(after(Reply("", [Use("submit", arguments)]), turn=2)) as server:
        point_at(monkeypatch, server, api)
        session = run(begin(llm_campaign()))
    assert session.state == "submitted", session.note
    trial = session.trial
    assert trial is not None and trial.hypothesis == GOOD and trial.role == session.role and trial.score is None
    assert len(server.asked) == 4


@pytest.mark.parametrize("api", APIS)
def test_arguments_of_a_wrong_shape_are_explained(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [Use("replace", {"name": 3}), Use("read_file", "not json"), Use("no_such_tool"), Use("read_trial", {})]
    with serving(after(Reply("", wrong))) as server:
        point_at(monkeypatch, server, api)
        session = run(begin(llm_campaign()))
    assert session.state == "submitted", session.note
    told = "\n".join(server.asked[2].results)
    assert "no_such_tool" in told and "old" in told and "number" in told


def test_a_storm_of_calls_is_answered_in_part_and_bounded_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    def storm(asked: Asked) -> Reply:
        return Reply("", [Use("search_files", {"text": "x"})] * 60)

    with serving(storm) as server:
        point_at(monkeypatch, server, LLM_SESSION_TURNS="4")
        session = run(begin(llm_campaign()))
    assert (session.state, session.fault, len(server.asked)) == ("failed", "budget", 4)
    results = server.asked[1].results
    assert sum("lines match" in result for result in results) == 24
    assert sum("Not done" in result for result in results) == 36


def test_huge_outputs_are_refused_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(after(lambda asked: edit(asked, "x = 1\n" * 100_000))) as server:
        point_at(monkeypatch, server)
        session = run(begin(llm_campaign()))
    assert session.state == "submitted", session.note
    assert "at most 150,000" in server.asked[2].results[0]


def test_giving_up_is_not_a_failure_and_the_role_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda asked: Reply("", [Use("give_up", {"reason": "Nothing is left to try here."})])) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign()
        session = run(begin(campaign))
        assert (session.state, session.fault) == ("nothing", "")
        assert session.note.startswith("Nothing is left")
        other = begin(campaign)
    assert other.role != session.role


@pytest.mark.parametrize("finished", [True, False])
def test_a_source_that_was_tried_is_named_before_it_is_submitted(
    finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(asked: Asked) -> Reply:
        return edit(asked, "x = 7\n") if asked.turns == 1 else honest(asked)

    with serving(script) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign(roles=[{"name": "architecture", "surface": ["architecture.py"], "preamble": "All."}])
        trial = run(begin(campaign)).trial
        assert trial is not None
        if finished:
            finish(start(trial), 2.5)
        services.advance(campaign.pk)
        second = run(Session.objects.filter(campaign=campaign, state="running").order_by("number")[0])
    assert (second.state, second.fault) == ("failed", "model")
    told = "trial 1 has this source" if finished else "an earlier trial has this source"
    assert told in server.asked[-1].results[0]
    assert Trial.objects.of(campaign.pk).count() == 2


BUDGETS = [
    ({"LLM_SESSION_TOKENS": "6000"}, "session"),
    ({"LLM_SESSION_USD": "0.05"}, "session"),
    ({"LLM_ROLE_TOKENS": "6000"}, "role"),
    ({"LLM_ROLE_TURNS": "2"}, "role"),
    ({"LLM_CAMPAIGN_USD": "0.05"}, "campaign"),
    ({"LLM_CAMPAIGN_TURNS": "2"}, "campaign"),
]


@pytest.mark.parametrize("variables,scope", BUDGETS, ids=str)
def test_no_budget_is_ever_passed(variables: dict[str, str], scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda asked: Reply("", [Use("list_files")])) as server:
        point_at(monkeypatch, server, LLM_MAX_OUTPUT_TOKENS="600", **variables)
        campaign = llm_campaign()
        session = run(begin(campaign))
    assert (session.state, session.fault) == ("failed", "budget")
    assert session.note.startswith(f"the {scope} has used") and len(server.asked) >= 1
    account = Account.objects.get(campaign=campaign, role="")
    name, limit = next(iter(variables.items()))
    used = {
        "TOKENS": account.input_tokens + account.output_tokens,
        "USD": account.cost,
        "TURNS": account.requests,
    }[name.rsplit("_", 1)[1]]
    assert used <= float(limit)


def test_a_used_budget_of_a_role_rests_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda asked: Reply("", [Use("list_files")])) as server:
        point_at(monkeypatch, server, LLM_ROLE_TURNS="1")
        campaign = llm_campaign(slots=1)
        first, second = run(begin(campaign)), run(begin(campaign))
        services.advance(campaign.pk)
        campaign.refresh_from_db()
    assert {first.role, second.role} == {"architecture", "optimization"}
    assert (campaign.state, campaign.state_reason) == ("finalising", "no role has an idea or a budget left")


def test_a_used_budget_of_the_campaign_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda asked: Reply("", [Use("list_files")])) as server:
        point_at(monkeypatch, server, LLM_CAMPAIGN_TURNS="2")
        campaign = llm_campaign(slots=1)
        assert run(begin(campaign)).fault == "budget"
        services.advance(campaign.pk)
        campaign.refresh_from_db()
    assert (campaign.state, campaign.state_reason) == ("finalising", "the campaign has used its 2 turns")


def test_sessions_at_work_cannot_pass_a_budget_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(honest) as server:
        point_at(monkeypatch, server, LLM_CAMPAIGN_TOKENS="24000", LLM_MAX_OUTPUT_TOKENS="16000")
        campaign = llm_campaign()
        begin(campaign)
        one, two = Session.objects.filter(campaign=campaign).order_by("number")
        Session.objects.filter(pk=two.pk).update(reserved_tokens=20_000)
        session = run(one)
    assert (session.state, session.fault) == ("failed", "budget") or all(
        asked.body["max_tokens"] < 4_000 for asked in server.asked
    )
    assert Account.objects.get(campaign=campaign, role="").closed == ""


def test_an_outage_pauses_the_campaign_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(after(Broken("status", 503), turn=0, times=999)) as server:
        point_at(monkeypatch, server, LLM_RETRIES="0")
        campaign = llm_campaign(slots=1)
        for _ in range(sessions.PROVIDER_FAILURES):
            run(begin(campaign))
        services.advance(campaign.pk)
        campaign.refresh_from_db()
    assert campaign.state == "paused"
    assert campaign.state_reason.startswith("3 sessions in a row failed at the model's provider")
    told = Event.objects.filter(kind="campaign_state").get()
    assert told.actor == "breaker" and "503" in told.payload["reason"]
    assert Session.objects.filter(campaign=campaign).count() == sessions.PROVIDER_FAILURES


def test_one_good_session_between_resets_the_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[bool] = []

    def script(asked: Asked) -> Reply | Broken:
        return Broken("status", 503) if broken else honest(asked)

    with serving(script) as server:
        point_at(monkeypatch, server, LLM_RETRIES="0")
        campaign = llm_campaign(slots=9)
        begin(campaign)
        for fails in (True, True, False, True, True):
            broken[:] = [True] * fails
            run(Session.objects.filter(campaign=campaign, state="running").order_by("number")[0])
        campaign.refresh_from_db()
    assert campaign.state == "running"
    assert Account.objects.get(campaign=campaign, role="").provider_failures == 2


def test_local_servers_need_no_key_and_have_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_API_KEY", raising=False)
    with serving(honest) as server:
        point_at(monkeypatch, server, "compatible")
        monkeypatch.delenv("LLM_API_KEY")
        session = run(begin(llm_campaign()))
    assert session.state == "submitted", session.note
    assert set(Call.objects.values_list("cost", flat=True)) == {None}
    assert Account.objects.get(role="").unpriced == 3


def test_a_role_may_have_a_model_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(honest) as server:
        point_at(monkeypatch, server, LLM_ROLE_MODELS="optimization=claude-haiku-4-5")
        campaign = llm_campaign()
        begin(campaign)
        for session in Session.objects.filter(campaign=campaign):
            run(session)
        models = dict(Call.objects.values_list("session__role", "model"))
    assert models == {"architecture": "claude-opus-4-8", "optimization": "claude-haiku-4-5"}
    assert {asked.model for asked in server.asked} == set(models.values())
    assert all(surface_of(asked) in ("architecture.py", "optimization.py") for asked in server.asked)
