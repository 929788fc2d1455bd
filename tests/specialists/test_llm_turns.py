"""Several tool calls in one turn, and what a session has before it asks for anything; clients that outlive sessions."""

from __future__ import annotations

import threading

import pytest

from specialists import lease
from specialists.models import Session
from specialists.proposers.llm import prompt
from specialists.proposers.llm.bridge import converse, here
from specialists.proposers.llm.client import connected
from specialists.proposers.llm.plan import connection
from tests.specialists.llm_server import Asked, Reply, Use, serving
from tests.specialists.llm_tools import (
    APIS,
    MODEL,
    after,
    begin,
    edit,
    hand_in,
    honest,
    llm_campaign,
    point_at,
    priced,
    run,
    spent,
    surface_of,
)
from trials.models import Trial
from trials.services.blobs import get_text, get_tree

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 600.0)  # its thread would not see what this test has not committed


def at_once(asked: Asked, *first: Use) -> Reply:
    """Other calls, an edit and the submission in one turn."""
    return Reply("", [*first, *edit(asked).uses, *hand_in(asked).uses])


@pytest.mark.parametrize("stream", ["1", "0"])
@pytest.mark.parametrize("api", APIS)
def test_an_edit_and_the_submission_may_be_one_turn(api: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(at_once) as server:
        point_at(monkeypatch, server, api, LLM_STREAM=stream)
        campaign = llm_campaign()
        session = run(begin(campaign))
    assert (session.state, session.note) == ("submitted", "")
    trial = session.trial
    assert trial is not None and get_tree(trial.source_id)[trial.surface[0]] == b"x = 1000\n"
    assert len(server.asked) == session.calls.count() == 1
    assert spent(campaign) == priced(campaign, server.charged, MODEL[api]) > 0


REFUSED = [
    Use("replace", {"name": "recipe.py", "old": "import", "new": "export"}),
    Use("replace", {"name": "architecture.py", "old": "this stands nowhere", "new": "x"}),
    Use("replace", {"name": 3}),
    Use("no_such_tool"),
]


@pytest.mark.parametrize("call", REFUSED, ids=str)
def test_nothing_is_submitted_in_a_turn_in_which_something_was_refused(
    call: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(after(lambda asked: at_once(asked, call), turn=0)) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign()
        session = run(begin(campaign))
    assert session.state == "submitted" and len(server.asked) > 1
    assert Trial.objects.of(campaign.pk).count() == 2
    assert "Final result" not in "".join(server.asked[1].results)


def test_more_calls_than_a_turn_may_have_submit_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    storm = [Use("search_files", {"text": "x"})] * 30
    with serving(after(lambda asked: at_once(asked, *storm), turn=0)) as server:
        point_at(monkeypatch, server)
        session = run(begin(llm_campaign()))
    assert (
        session.state == "submitted" and len(server.asked) == 3
    )  # it wrote the file again, which had not been written
    assert "was refused" in server.asked[1].results[-1]


def test_a_submission_before_its_edit_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def backwards(asked: Asked) -> Reply:
        return Reply("", [*hand_in(asked).uses, *edit(asked).uses])

    with serving(after(backwards, turn=0)) as server:
        point_at(monkeypatch, server)
        session = run(begin(llm_campaign()))
    assert session.state == "submitted" and len(server.asked) == 2
    assert "the work tree changes nothing" in "".join(server.asked[1].results)


def test_the_opening_holds_the_own_files_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(honest) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign()
        begin(campaign)
        first, second = Session.objects.filter(campaign=campaign).order_by("number")
        session = run(first)
        start = get_tree(Trial.objects.of(campaign.pk).get(number=0).source_id)
        monkeypatch.setattr(prompt, "OWN_CHARACTERS", 10)
        run(second)
    opening, without = server.asked[0].opening, server.asked[-1].opening
    own = surface_of(server.asked[0])
    assert f"recipe file {own}>>\n{start[own].decode()}" in opening
    assert [name for name in start if f"recipe file {name}" in opening] == [own]
    assert "recipe file" not in without
    body = session.calls.get(number=1).body_id
    assert f"recipe file {own}" in get_text(body)


def test_sessions_of_a_process_share_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(at_once) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign()
        client = connected(MODEL["anthropic"], connection())
        begin(campaign)
        sessions = [run(session) for session in Session.objects.filter(campaign=campaign)]
        assert connected(MODEL["anthropic"], connection()) is client
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test-another-key-0123456789")
        assert connected(MODEL["anthropic"], connection()) is not client
    assert [session.state for session in sessions] == ["submitted", "submitted"]


def test_the_record_is_touched_by_the_thread_that_holds_the_connection() -> None:
    seen: list[str] = []

    async def conversation() -> str:
        seen.append(threading.current_thread().name)
        with pytest.raises(ZeroDivisionError):
            await here(divmod, 1, 0)
        return await here(lambda: threading.current_thread().name)

    assert converse(conversation) == threading.current_thread().name
    assert seen == ["models"]


def test_a_worker_that_is_interrupted_ends_the_conversation() -> None:
    ended = threading.Event()

    class Interrupted(BaseException):
        """As a signal raises it."""

    def interrupt() -> None:
        raise Interrupted

    async def conversation() -> None:
        try:
            await here(interrupt)
        finally:
            ended.set()

    with pytest.raises(Interrupted):
        converse(conversation)
    assert ended.wait(60)
