"""What launch fixes for language models, refuses in one line, and what prices are made of."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from specialists.budgets import Budget, Spent, over
from specialists.forms import LaunchForm
from specialists.launch import LaunchError, LaunchSettings, launch_campaign, validate
from specialists.proposals import Need, Usage
from specialists.proposers.llm import plan, prices
from specialists.redaction import RedactingFormatter, redact, storable
from tests.specialists.test_launch import GOOD
from trials.models import Campaign, Event

ANTHROPIC = {"LLM_PROVIDER": "anthropic", "LLM_MODEL": "claude-opus-4-8", "ANTHROPIC_API_KEY": "sk-ant-plan-0123456789"}
CHOSEN: dict[str, Any] = GOOD | {"proposer": "llm"}


def environment(monkeypatch: pytest.MonkeyPatch, **variables: str | None) -> None:
    """Only these variables of language models are set."""
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LLM_API_KEY", "LLM_PROVIDER", "LLM_MODEL", "LLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (ANTHROPIC | variables).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


REFUSED: list[tuple[dict[str, str | None], str]] = [
    ({"LLM_PROVIDER": None}, "LLM_PROVIDER is not set, expected one of anthropic, openai, compatible"),
    ({"LLM_PROVIDER": "oracle"}, "LLM_PROVIDER 'oracle' is unknown"),
    ({"ANTHROPIC_API_KEY": None}, "ANTHROPIC_API_KEY is not set, expected the key of anthropic"),
    ({"LLM_PROVIDER": "openai"}, "OPENAI_API_KEY is not set"),
    ({"LLM_PROVIDER": "compatible"}, "LLM_BASE_URL is not set, expected the server's address"),
    ({"LLM_BASE_URL": "ftp://x"}, "LLM_BASE_URL is malformed"),
    ({"LLM_BASE_URL": "http://ada:secret@host/v1"}, "without name or password"),
    ({"LLM_MODEL": None}, "LLM_MODEL is not set, expected the name of a model"),
    ({"LLM_ROLE_MODELS": "loss"}, "expected role=model"),
    ({"LLM_ROLE_MODELS": "chef=claude-opus-4-8"}, "LLM_ROLE_MODELS names 'chef'"),
    ({"LLM_SESSION_TURNS": "0"}, "LLM_SESSION_TURNS is 0, expected 1 to"),
    ({"LLM_CAMPAIGN_USD": "-1"}, "LLM_CAMPAIGN_USD is -1, expected more than 0"),
    ({"LLM_ROLE_TOKENS": "many"}, "LLM_ROLE_TOKENS is 'many', expected a whole number"),
    ({"LLM_STREAM": "maybe"}, "LLM_STREAM is 'maybe', expected one of 1, 0"),
    ({"LLM_PRICES": "{"}, "LLM_PRICES is malformed"),
    ({"LLM_PRICES": '{"m": {"input": -1, "output": 1}}'}, "LLM_PRICES of 'm' cannot be used"),
    ({"LLM_MODEL": "own-model", "LLM_CAMPAIGN_USD": "1"}, "has no price of 'own-model', so the campaign's money"),
]


@pytest.mark.parametrize("variables,words", REFUSED, ids=[str(variables) for variables, _ in REFUSED])
def test_what_cannot_be_used_is_refused_in_one_line(
    variables: dict[str, str | None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch, **variables)
    with pytest.raises(LaunchError) as refused:
        validate(LaunchSettings(**CHOSEN))
    assert refused.value.field == "proposer" and words in refused.value.message
    assert "\n" not in str(refused.value) and "expected" in str(refused.value)


def test_a_language_model_cannot_be_asked_to_repeat_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch)
    with pytest.raises(LaunchError, match="reproducible: a language model does not repeat itself"):
        validate(LaunchSettings(**CHOSEN, reproducible=True))
    with pytest.raises(LaunchError, match="usd: catalog costs nothing"):
        validate(LaunchSettings(**GOOD, usd=1.0))


@pytest.mark.django_db
def test_the_plan_is_stored_with_the_campaign_and_in_the_ledger_without_any_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment(monkeypatch, LLM_ROLE_MODELS="loss=claude-haiku-4-5", LLM_ROLE_USD="2.5", LLM_SESSION_TURNS="9")
    campaign = launch_campaign(LaunchSettings(**CHOSEN, usd=12.5), actor="test")
    kept = Campaign.objects.get(pk=campaign.pk).agent
    assert kept["provider"] == "anthropic"
    assert kept["models"]["loss"] == "claude-haiku-4-5" and kept["models"]["meta"] == "claude-opus-4-8"
    assert kept["budgets"]["session"] == {"turns": 9, "tokens": 1_000_000, "usd": None}
    assert (kept["budgets"]["role"]["usd"], kept["budgets"]["campaign"]["usd"]) == ("2.5", "12.5")
    assert (kept["prices"]["source"], kept["prices"]["version"]) == ("genai-prices", "0.2.3")
    assert len(kept["prices"]["date"]) == 10 and kept["client"].startswith("pydantic-ai-slim 2.")
    assert Event.objects.get(kind="campaign_launched").payload["agent"] == kept
    assert ANTHROPIC["ANTHROPIC_API_KEY"] not in json.dumps(kept)


@pytest.mark.django_db
def test_form_and_command_launch_with_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch)
    assert LaunchForm({**CHOSEN, "usd": "3"}).is_valid()
    call_command("launch", "parameter_golf", profile="smoke", proposer="llm", usd=3.0, name="with model")
    assert Campaign.objects.get().agent["budgets"]["campaign"]["usd"] == "3.0"
    environment(monkeypatch, ANTHROPIC_API_KEY=None)
    form = LaunchForm(CHOSEN)
    assert not form.is_valid() and "ANTHROPIC_API_KEY is not set" in str(form.errors["proposer"])
    with pytest.raises(CommandError, match="ANTHROPIC_API_KEY is not set"):
        call_command("launch", "parameter_golf", profile="smoke", proposer="llm")


def test_prices_come_from_the_table_and_stay_as_they_were() -> None:
    table = json.loads(json.dumps(prices.freeze("anthropic", ["claude-opus-4-8", "unheard-of"], {})))
    price = table["models"]["claude-opus-4-8"]
    assert table["models"]["unheard-of"] is None
    usage = Usage(input_tokens=1_000_000, cache_read_tokens=400_000, cache_write_tokens=100_000, output_tokens=10_000)
    expected = (
        Decimal(price["input"]) * Decimal("0.5")
        + Decimal(price["cache_read"]) * Decimal("0.4")
        + Decimal(price["cache_write"]) * Decimal("0.1")
        + Decimal(price["output"]) * Decimal("0.01")
    )
    assert prices.cost(table, "claude-opus-4-8", usage) == expected
    assert prices.cost(table, "unheard-of", usage) is None


def test_long_contexts_pay_their_tier_and_own_prices_come_first() -> None:
    own = {"local": {"input": Decimal("0.1"), "output": Decimal("0.2")}}
    table = json.loads(json.dumps(prices.freeze("anthropic", ["claude-sonnet-4-5", "local"], own)))
    tiers = table["models"]["claude-sonnet-4-5"]["input"]
    start, dear = tiers["tiers"][0]
    few, many = Usage(input_tokens=start), Usage(input_tokens=start + 1)
    assert prices.cost(table, "claude-sonnet-4-5", few) == Decimal(tiers["base"]) * start / 1_000_000
    assert prices.cost(table, "claude-sonnet-4-5", many) == Decimal(dear) * (start + 1) / 1_000_000
    assert table["models"]["local"]["source"] == "LLM_PRICES"
    assert prices.cost(table, "local", Usage(10, 0, 0, 5)) == Decimal("0.000002")


def test_another_servers_model_is_not_priced_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, LLM_PROVIDER="compatible", LLM_BASE_URL="http://127.0.0.1:1/v1", LLM_MODEL="gpt-5")
    assert plan.make_plan(["loss"])["prices"]["models"] == {"gpt-5": None}


def test_a_budget_has_room_or_says_whose_has_not() -> None:
    budgets = {"session": Budget(tokens=100), "campaign": Budget(turns=2, usd=Decimal(1))}
    assert over(budgets, {}, Need(100, None)) is None
    refused = over(budgets, {"session": Spent(1, 40)}, Need(61, None))
    assert refused is not None and refused.words == "the session has used 40 of 100 tokens and the next turn may use 61"
    refused = over(budgets, {"campaign": Spent(1, 0, Decimal("0.9"))}, Need(1, Decimal("0.2")))
    assert refused is not None and refused.scope == "campaign" and "0.9000 of 1 US dollars" in refused.words
    refused = over(budgets, {"campaign": Spent(2)}, Need(1, None))
    assert refused is not None and refused.words == "the campaign has used its 2 turns"
    assert Budget.from_json(budgets["campaign"].as_json()) == budgets["campaign"]


def test_keys_leave_no_text_and_no_log_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-redact-me-0123456789")
    assert redact("key sk-redact-me-0123456789!") == "key [key removed]!"
    record = logging.LogRecord("x", logging.INFO, "f", 1, "said %s", ("sk-redact-me-0123456789",), None)
    assert RedactingFormatter("%(message)s").format(record) == "said [key removed]"
    assert storable("a\x00b\ud800") == "a?b?"
