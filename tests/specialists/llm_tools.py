"""Campaigns with a language model for tests: the model is a scripted server, everything else is real."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from evaluators.environments.parameter_golf import ParameterGolf
from evaluators.preflight import read_recipe
from specialists import services
from specialists.models import Account, Call, Session
from specialists.proposals import Usage
from specialists.proposers.llm import plan, prices
from tests.factories import finish, make_campaign, start, submit
from tests.specialists.llm_server import Asked, Broken, ModelServer, Reply, Script, Use
from trials.models import Campaign

MODEL = {"anthropic": "claude-opus-4-8", "openai": "gpt-5", "compatible": "local"}
KEY = {name: f"sk-test-{name}-0123456789abcdef" for name in MODEL}
APIS = ("anthropic", "openai")
SPEC = ParameterGolf.spec
ROLES = [
    {"name": "architecture", "surface": ["architecture.py"], "preamble": "Blocks."},
    {"name": "optimization", "surface": ["optimization.py"], "preamble": "Rates."},
]
GOOD = "Raising x by one should lower the score, as trial 0 suggests."


def point_at(monkeypatch: Any, server: ModelServer, api: str = "anthropic", **variables: str) -> None:
    """The environment of a worker that reaches its provider at ``server``."""
    own = {
        "LLM_PROVIDER": api,
        "LLM_MODEL": MODEL[api],
        "LLM_BASE_URL": server.url + ("" if api == "anthropic" else "/v1"),
        plan.KEYS[api][0]: KEY[api],
    }
    for name, value in (own | variables).items():
        monkeypatch.setenv(name, value)


def llm_campaign(**changes: Any) -> Campaign:
    """A running campaign of golf whose start has been measured; its trials are not, unless workers run."""
    roles = changes.get("roles", ROLES)
    values = {
        "proposer": "llm",
        "agent": plan.make_plan([role["name"] for role in roles]),
        "profile": "smoke",
        "spec": SPEC.as_json("smoke"),
        "roles": roles,
    }
    campaign = make_campaign(**values | changes)
    finish(start(submit(campaign, parent=None, files=read_recipe(SPEC))), 2.0)
    campaign.refresh_from_db()
    return campaign


def begin(campaign: Campaign) -> Session:
    """The next session of the campaign, as the loop starts it; not run yet."""
    known = set(Session.objects.filter(campaign=campaign).values_list("pk", flat=True))
    services.advance(campaign.pk)
    return Session.objects.filter(campaign=campaign).exclude(pk__in=known).order_by("number").first() or _none()


def _none() -> Session:
    raise AssertionError("the loop started no session")


def run(session: Session) -> Session:
    """Run it here and now; whatever other campaigns have waiting is somebody else's."""
    Session.objects.exclude(campaign=session.campaign_id).filter(worker="").update(worker="elsewhere:1")
    services.run_session(session.pk)
    session.refresh_from_db()
    return session


def surface_of(asked: Asked) -> str:
    """The one file that the role of a request may change, read from its instructions."""
    return asked.system.split("Your surface, the only files that you may change: ")[1].split(".py")[0] + ".py"


def read(asked: Asked) -> Reply:
    return Reply("I read first.", [Use("read_file", {"name": surface_of(asked)})])


def edit(asked: Asked, text: str = "") -> Reply:
    """A new source whatever others did: the number of the request is in it."""
    text = text or f"x = {1000 + asked.number}\n"
    return Reply("", [Use("write_file", {"name": surface_of(asked), "text": text})])


def hand_in(asked: Asked, hypothesis: str = GOOD) -> Reply:
    return Reply("", [Use("submit", {"hypothesis": hypothesis, "expected_delta": -0.01, "evidence": [0]})])


def honest(asked: Asked) -> Reply:
    """Read, write, submit; whatever went wrong between."""
    if asked.turns == 0:
        return read(asked)
    return hand_in(asked) if "bytes written" in json.dumps(asked.body["messages"]) else edit(asked)


def after(first: Reply | Broken | Callable[[Asked], Reply | Broken], turn: int = 1, times: int = 1) -> Script:
    """``honest``, but the first ``times`` requests at ``turn`` get ``first``."""
    given: list[int] = []

    def script(asked: Asked) -> Reply | Broken:
        if asked.turns == turn and len(given) < times:
            given.append(asked.number)
            return first(asked) if callable(first) else first
        return honest(asked)

    return script


def priced(campaign: Campaign, charged: Sequence[Mapping[str, int]], model: str) -> Decimal:
    """What a server's own count of tokens costs by the campaign's table."""
    table = campaign.agent["prices"]
    total = Decimal(0)
    for row in charged:
        usage = Usage(row["input"], row["cache_read"], row["cache_write"], row["output"])
        total += prices.cost(table, model, usage) or Decimal(0)
    return total


def spent(campaign: Campaign) -> Decimal:
    """Sum over requests, checked against the campaign's account."""
    calls = Call.objects.filter(session__campaign=campaign)
    total = sum((call.cost or Decimal(0) for call in calls), Decimal(0))
    account = Account.objects.get(campaign=campaign, role="")
    assert (account.cost, account.requests) == (total, calls.count())
    roles = Account.objects.filter(campaign=campaign).exclude(role="")
    assert sum((row.cost for row in roles), Decimal(0)) == total
    return total
