"""What launch fixes for a campaign with language models: provider, models, budgets, prices. Keys stay outside.

Read from the environment (docs/llm.md). Nothing secret is in the plan, which is stored with the campaign.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from specialists.budgets import SCOPES, Budget
from specialists.proposers.llm import prices

#: Provider -> the variable that holds its key, and whether it can be done without.
KEYS = {
    "anthropic": ("ANTHROPIC_API_KEY", True),
    "openai": ("OPENAI_API_KEY", True),
    "compatible": ("LLM_API_KEY", False),
}
SESSION_TURNS, SESSION_TOKENS = 40, 1_000_000
MAX_OUTPUT_TOKENS = 16_000
_UNITS = {"TURNS": (1, 10_000_000), "TOKENS": (1_000, 10**13)}


class NotConfigured(ValueError):
    """A variable cannot be used: one line that names it and says what was expected."""


@dataclass(frozen=True)
class Connection:
    """How a worker reaches the provider now. The key is never written anywhere.

    seconds: for one request as a whole; silence: until its first and between its words; retries: of one request.
    """

    provider: str
    base_url: str
    key: str
    seconds: float
    silence: float
    retries: int
    stream: bool


def make_plan(roles: Sequence[str], usd: float | None = None) -> dict[str, Any]:
    """The part that is stored with the campaign. ``usd``: the campaign's money, else LLM_CAMPAIGN_USD.

    Raises NotConfigured.
    """
    provider = connection().provider
    models = _models(roles)
    budgets = {scope: _budget(scope) for scope in SCOPES}
    if usd is not None:
        budgets["campaign"] = Budget(budgets["campaign"].turns, budgets["campaign"].tokens, _money("usd", str(usd)))
    table = prices.freeze(provider, sorted(set(models.values())), _own_prices())
    unpriced = [name for name, price in table["models"].items() if price is None]
    limited = [scope for scope, budget in budgets.items() if budget.usd is not None]
    if unpriced and limited:
        raise NotConfigured(
            f"LLM_PRICES: {table['source']} {table['version']} has no price of {unpriced[0]!r}, so the {limited[0]}'s "
            'money cannot be counted, expected {"MODEL": {"input": USD, "output": USD}} per million tokens'
        )
    return {
        "provider": provider,
        "models": models,
        "max_output_tokens": _whole("LLM_MAX_OUTPUT_TOKENS", MAX_OUTPUT_TOKENS, 512, 1_000_000),
        "budgets": {scope: budget.as_json() for scope, budget in budgets.items()},
        "prices": table,
        "client": f"pydantic-ai-slim {version('pydantic-ai-slim')}",
    }


def connection() -> Connection:
    """Raises NotConfigured where provider or key are missing."""
    provider = _text("LLM_PROVIDER")
    if provider not in KEYS:
        said = f"{provider!r} is unknown" if provider else "is not set"
        raise NotConfigured(f"LLM_PROVIDER {said}, expected one of {', '.join(KEYS)}")
    name, needed = KEYS[provider]
    key, base_url = _text(name), _text("LLM_BASE_URL")
    if needed and not key:
        raise NotConfigured(f"{name} is not set, expected the key of {provider}")
    if provider == "compatible" and not base_url:
        raise NotConfigured("LLM_BASE_URL is not set, expected the server's address such as http://127.0.0.1:8080/v1")
    parts = urlsplit(base_url)
    if base_url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query):
        raise NotConfigured("LLM_BASE_URL is malformed, expected http(s)://host[:port]/path without name or password")
    return Connection(
        provider=provider,
        base_url=base_url,
        key=key,
        seconds=float(_whole("LLM_TIMEOUT_SECONDS", 900, 1, 86_400)),
        silence=float(_whole("LLM_SILENCE_SECONDS", 180, 1, 86_400)),
        retries=_whole("LLM_RETRIES", 5, 0, 100),
        stream=_choice("LLM_STREAM", "1", {"1": True, "0": False}),
    )


def _models(roles: Sequence[str]) -> dict[str, str]:
    """Role -> model."""
    usual, own = _text("LLM_MODEL"), _pairs("LLM_ROLE_MODELS")
    unknown = sorted(set(own) - set(roles))
    if unknown:
        raise NotConfigured(f"LLM_ROLE_MODELS names {unknown[0]!r}, expected roles of {', '.join(roles)}")
    without = [role for role in roles if role not in own]
    if without and not usual:
        raise NotConfigured(f"LLM_MODEL is not set, expected the name of a model ({without[0]} has none of its own)")
    return {role: own.get(role, usual) for role in roles}


def _pairs(name: str) -> dict[str, str]:
    """``role=model,role=model``."""
    found: dict[str, str] = {}
    for word in filter(None, (word.strip() for word in _text(name).split(","))):
        role, sign, model = (part.strip() for part in word.partition("="))
        if not (role and sign and model):
            raise NotConfigured(f"{name} holds {word[:80]!r}, expected role=model, separated by commas")
        found[role] = model
    return found


def _budget(scope: str) -> Budget:
    """A session is always bounded; a role and a campaign only where somebody said so."""
    start = f"LLM_{scope.upper()}_"
    usual = {"TURNS": SESSION_TURNS, "TOKENS": SESSION_TOKENS} if scope == "session" else {}
    turns, tokens = (
        _whole(start + unit, usual.get(unit, low), low, high) if unit in usual or _text(start + unit) else None
        for unit, (low, high) in _UNITS.items()
    )
    usd = _text(start + "USD")
    return Budget(turns, tokens, _money(start + "USD", usd) if usd else None)


def _money(name: str, value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise NotConfigured(f"{name} is {value!r}, expected US dollars such as 2.50") from None
    if not (amount.is_finite() and 0 < amount < 10**7):
        raise NotConfigured(f"{name} is {value}, expected more than 0 and less than 10,000,000 US dollars")
    return amount


def _own_prices() -> Mapping[str, Mapping[str, Decimal]]:
    """LLM_PRICES: model -> kind of token -> US dollars per million."""
    text = _text("LLM_PRICES")
    if not text:
        return {}
    expected = 'expected JSON {"MODEL": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75}}'
    try:
        data = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        found = {
            str(model): {str(kind): Decimal(price) for kind, price in kinds.items()} for model, kinds in data.items()
        }
    except (ValueError, TypeError, AttributeError, InvalidOperation):
        raise NotConfigured(f"LLM_PRICES is malformed, {expected}") from None
    for model, kinds in found.items():
        wrong = set(kinds) - set(prices.KINDS)
        bad = [price for price in kinds.values() if not (price.is_finite() and price >= 0)]
        if wrong or bad or not {"input", "output"} <= set(kinds):
            raise NotConfigured(f"LLM_PRICES of {model[:80]!r} cannot be used, {expected}")
    return found


def _text(name: str) -> str:
    return os.environ.get(name, "").strip()


def _choice(name: str, usual: str, meaning: Mapping[str, bool]) -> bool:
    value = _text(name) or usual
    if value not in meaning:
        raise NotConfigured(f"{name} is {value!r}, expected one of {', '.join(meaning)}")
    return meaning[value]


def _whole(name: str, usual: int, low: int, high: int) -> int:
    value = _text(name) or str(usual)
    try:
        number = int(value.replace("_", ""))
    except ValueError:
        raise NotConfigured(f"{name} is {value!r}, expected a whole number") from None
    if not (low <= number <= high and math.isfinite(number)):
        raise NotConfigured(f"{name} is {number}, expected {low} to {high}")
    return number
