"""The price table of a campaign: taken from genai-prices at launch, dated, stored, and used unchanged to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from genai_prices import Usage as PricedUsage
from genai_prices import __version__ as table_version
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice, Tier, TieredPrices

from specialists.proposals import Usage

SOURCE = "genai-prices"
#: Kinds of tokens that are counted -> the table's name of their price, US dollars per million.
KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}
_PLACES = Decimal(1).scaleb(-12)


def freeze(provider: str, models: Sequence[str], own: Mapping[str, Mapping[str, Decimal]]) -> dict[str, Any]:
    """``own`` prices come first, then those of the table; None for a model that neither knows."""
    now = datetime.now(UTC)
    found: dict[str, Any] = {}
    for model in models:
        if model in own:
            found[model] = {"source": "LLM_PRICES"} | {kind: f"{price:f}" for kind, price in own[model].items()}
        else:
            found[model] = _listed(provider, model, now)
    return {"source": SOURCE, "version": table_version, "date": now.date().isoformat(), "models": found}


def _listed(provider: str, model: str, now: datetime) -> dict[str, Any] | None:
    if provider == "compatible":  # another server's model may share a name with one that is sold elsewhere
        return None
    try:
        _, info = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    price = info.get_prices(now)
    kinds = {kind: _as_json(getattr(price, name, None)) for kind, name in KINDS.items()}
    kinds = {kind: value for kind, value in kinds.items() if value is not None}
    return {"source": SOURCE, "listed_as": info.id} | kinds if {"input", "output"} <= set(kinds) else None


def _as_json(price: Decimal | TieredPrices | None) -> Any:
    if isinstance(price, TieredPrices):
        return {"base": f"{price.base:f}", "tiers": [[tier.start, f"{tier.price:f}"] for tier in price.tiers]}
    return None if price is None else f"{price:f}"


def _from_json(value: Any) -> Decimal | TieredPrices:
    if isinstance(value, str):
        return Decimal(value)
    return TieredPrices(Decimal(value["base"]), [Tier(start, Decimal(price)) for start, price in value["tiers"]])


def cost(table: Mapping[str, Any], model: str, usage: Usage) -> Decimal | None:
    """US dollars of one request by a frozen table; None where the model has no price in it."""
    price = table["models"].get(model)
    if price is None:
        return None
    made = ModelPrice(**{name: _from_json(price[kind]) for kind, name in KINDS.items() if kind in price})
    counted = PricedUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens or None,
        cache_write_tokens=usage.cache_write_tokens or None,
        output_tokens=usage.output_tokens,
    )
    return Decimal(made.calc_price(counted)["total_price"]).quantize(_PLACES)
