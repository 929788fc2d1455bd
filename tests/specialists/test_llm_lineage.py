"""What the tools of an agent show under each lineage policy, and that with ``none`` nothing of another trial leaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from specialists import lease
from specialists.models import Session
from specialists.proposers.llm.tools import TOOLS
from tests.factories import finish, start, submit
from tests.specialists.llm_server import Asked, Reply, Use, serving
from tests.specialists.llm_tools import SPEC, begin, hand_in, honest, llm_campaign, point_at, run
from trials.models import Campaign, Trial
from trials.services.blobs import get_tree

pytestmark = pytest.mark.django_db
#: Every text of a trial that could reach another agent, each with a mark of its own.
MARKS = ("HYPOTHESIS", "REASON", "EXCERPT", "LOG", "SOURCE", "SECRETLABEL")


@pytest.fixture(autouse=True)
def _no_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 600.0)


def mark(word: str, role: str) -> str:
    return f"MARK-{word}-{role}"


def tried(campaign: Campaign, role: str, score: float, label: str = "valid") -> Trial:
    """A trial of ``role`` whose every text is marked."""
    name = f"{role}.py"
    files = dict(get_tree(Trial.objects.get(campaign=campaign, number=0).source_id))
    files[name] = f"# {mark('SOURCE', role)} {score}\nx = 1\n".encode()
    made = submit(
        campaign,
        role=role,
        files=files,
        diff=f"--- a/{name}\n+++ b/{name}\n+# {mark('SOURCE', role)}\n",
        hypothesis=f"{mark('HYPOTHESIS', role)} helps.",
        surface=(name,),
    )
    return finish(
        start(made),
        score,
        label,
        reason=mark("REASON", role),
        excerpt=mark("EXCERPT", role),
        log=mark("LOG", role).encode(),
        numbers={"secret": mark("SECRETLABEL", role)},
    )


def every_tool(asked: Asked) -> Reply:
    """Calls every tool for every trial that there is, and for one that there is not."""
    if asked.turns == 0:
        uses = [Use("list_files"), Use("search_files", {"text": "MARK-"}), Use("show_diff"), Use("check")]
        uses += [
            Use("read_file", {"name": name}) for name in (*SPEC.files[:2], "recipe.py", "../secret", "/etc/passwd")
        ]
        uses += [
            Use("search_trials", row) for row in ({}, {"words": "MARK"}, {"role": "optimization"}, {"best_first": True})
        ]
        uses += [Use("project_size")]
        return Reply("", uses)
    if asked.turns <= 5:
        number = asked.turns - 1 if asked.turns < 5 else 999
        parts = ("outcome", "diff", "log")
        return Reply("", [Use("read_trial", {"number": number, "part": part}) for part in parts])
    if asked.turns <= 10:
        number = asked.turns - 6 if asked.turns < 10 else 999
        uses = [Use("rebase", {"trial": number}), Use("list_files"), Use("search_files", {"text": "MARK-"})]
        return Reply("", uses)
    if asked.turns == 11:
        return Reply(
            "", [Use("rebase", {"trial": 0}), Use("write_file", {"name": "architecture.py", "text": "x = 5\n"})]
        )
    return hand_in(asked)


def seen_by(campaign: Campaign) -> tuple[str, str]:
    """Everything that the model was sent in one session of ``architecture``, and the session's end state."""
    session = begin(campaign)
    while session.role != "architecture":
        session = begin(campaign)
    server = SERVER[0]
    server.asked.clear()
    state = run(session).state
    sent = json.dumps(server.asked[-1].body)
    return sent, state


SERVER: list[Any] = []


@pytest.mark.parametrize("policy", ["shared", "own-role", "none"])
def test_every_tool_shows_what_the_policy_allows_and_nothing_else(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(every_tool) as server:
        SERVER[:] = [server]
        point_at(monkeypatch, server)
        campaign = llm_campaign(lineage=policy, slots=9, spec=SPEC.as_json("gpu"), profile="gpu")
        best = tried(campaign, "optimization", 1.5)  # trial 1, the best
        tried(campaign, "architecture", 1.8)  # 2, the role's own
        tried(campaign, "optimization", 1.9, "crash")  # 3
        campaign.refresh_from_db()
        assert campaign.best_trial == best
        sent, state = seen_by(campaign)
    assert state == "submitted"
    used = {use for asked in server.asked for use in _tools_of(asked)}
    assert used >= set(TOOLS) - {"replace"}
    shown = {role: {word for word in MARKS if mark(word, role) in sent} for role in ("architecture", "optimization")}
    if policy == "shared":
        assert shown == {"architecture": set(MARKS), "optimization": set(MARKS)}
    elif policy == "own-role":
        assert shown["architecture"] == set(MARKS)
        assert shown["optimization"] <= {"SOURCE"}  # the best's source is what the work tree starts from
    else:
        assert shown["architecture"] == set()
        assert shown["optimization"] <= {"SOURCE"}
        assert "trial 2 is not shown to you" in sent and "trial 999 is not shown to you" in sent
        assert "1.800000" not in sent and "keep" not in " ".join(server.asked[2].results)


def _tools_of(asked: Asked) -> list[str]:
    messages = [message for message in asked.body["messages"] if message["role"] == "assistant"]
    return [part["name"] for message in messages for part in message["content"] if part["type"] == "tool_use"]


def test_a_hidden_trial_and_one_that_does_not_exist_sound_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(every_tool) as server:
        SERVER[:] = [server]
        point_at(monkeypatch, server)
        campaign = llm_campaign(lineage="none", slots=9)
        for score in (1.9, 1.8, 1.7):
            tried(campaign, "optimization", score)
        seen_by(campaign)
    hidden, absent = (server.asked[turn].results for turn in (3, 6))
    assert [text.replace(" 1 ", " N ") for text in hidden] == [text.replace(" 999 ", " N ") for text in absent]


def test_with_none_a_twin_of_anothers_source_is_not_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools accept it; the record then refuses it, and only people read that."""

    def script(asked: Asked) -> Reply:
        if asked.turns == 1:
            return Reply("", [Use("write_file", {"name": "architecture.py", "text": "x = 7\n"}), Use("check")])
        return honest(asked)

    with serving(script) as server:
        point_at(monkeypatch, server)
        roles = [{"name": name, "surface": ["architecture.py"], "preamble": "All."} for name in ("one", "two")]
        campaign = llm_campaign(lineage="none", roles=roles)
        begin(campaign)
        first, second = (run(session) for session in Session.objects.filter(campaign=campaign).order_by("number")[:2])
    assert (first.state, second.state, second.fault) == ("submitted", "failed", "model")
    assert "identical to that of trial 1" in second.note
    texts = json.dumps([asked.body for asked in server.asked])
    assert "identical" not in texts and "trial 1" not in texts and "has this source" not in texts


def test_shared_lineage_may_build_on_any_trial_and_names_its_true_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(asked: Asked) -> Reply:
        if asked.turns == 1:
            return Reply("", [Use("rebase", {"trial": 2})])
        if asked.turns == 2:
            return Reply("", [Use("write_file", {"name": "architecture.py", "text": "x = 9\n"})])
        return honest(asked)

    with serving(script) as server:
        SERVER[:] = [server]
        point_at(monkeypatch, server)
        campaign = llm_campaign(slots=9)
        tried(campaign, "optimization", 1.5)
        tried(campaign, "optimization", 1.9)
        seen_by(campaign)
    trial = Trial.objects.get(campaign=campaign, role="architecture")
    assert trial.parent is not None and trial.parent.number == 2
    assert b"MARK-SOURCE" in get_tree(trial.source_id)["optimization.py"]


def test_searches_page_and_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(asked: Asked) -> Reply:
        if asked.turns == 0:
            rows: list[dict[str, Any]] = [
                {},
                {"below": 6},
                {"label": "crash"},
                {"words": "idea 3"},
                {"best_first": True},
                {"role": "nobody"},
            ]
            return Reply("", [Use("search_trials", row) for row in rows])
        return honest(asked)

    with serving(script) as server:
        point_at(monkeypatch, server)
        campaign = llm_campaign(slots=9)
        for number in range(1, 26):
            made = submit(
                campaign,
                files=dict(get_tree(Trial.objects.get(campaign=campaign, number=0).source_id))
                | {"loss.py": f"x = {number}".encode()},
            )
            finish(start(made), None if number == 4 else 2.0 + number / 100, "crash" if number == 4 else "valid")
        run(begin(campaign))
    newest, below, crashed, worded, best, nobody = server.asked[1].results

    def numbers(text: str) -> list[int]:
        return [int(line.split(" | ")[0]) for line in text.split("\n") if " | " in line]

    assert numbers(newest) == list(range(25, 5, -1))
    assert numbers(below) == [5, 4, 3, 2, 1, 0]
    assert numbers(crashed) == [4]
    assert numbers(worded) == [23, 13, 3]
    assert numbers(best)[:3] == [0, 1, 2]
    assert nobody == "No trial that you may see matches."
