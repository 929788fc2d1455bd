"""Budgets of language models: turns, tokens and money of a session, a role, a campaign. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from specialists.proposals import Need

SCOPES = ("session", "role", "campaign")


@dataclass(frozen=True)
class Budget:
    """Requests to a model, tokens in and out together, US dollars; None: no limit."""

    turns: int | None = None
    tokens: int | None = None
    usd: Decimal | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"usd": None if self.usd is None else f"{self.usd:f}"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Budget:
        usd = data.get("usd")
        return cls(data.get("turns"), data.get("tokens"), None if usd is None else Decimal(usd))


@dataclass(frozen=True)
class Spent:
    turns: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)

    def plus(self, other: Spent) -> Spent:
        """With what requests under way may use at most."""
        return Spent(self.turns + other.turns, self.tokens + other.tokens, self.usd + other.usd)


@dataclass(frozen=True)
class Refused:
    """A budget has no room for a request: whose, and in words."""

    scope: str
    words: str


def over(budgets: Mapping[str, Budget], spent: Mapping[str, Spent], need: Need) -> Refused | None:
    """Why a request that may use ``need`` is not made; None when every budget has room for it."""
    for scope in SCOPES:
        budget, used = budgets.get(scope, Budget()), spent.get(scope, Spent())
        more = f"and the next turn may use {need.tokens:,}"
        if budget.turns is not None and used.turns + 1 > budget.turns:
            return Refused(scope, f"the {scope} has used its {budget.turns} turns")
        if budget.tokens is not None and used.tokens + need.tokens > budget.tokens:
            return Refused(scope, f"the {scope} has used {used.tokens:,} of {budget.tokens:,} tokens {more}")
        if budget.usd is not None and used.usd + (need.usd or 0) > budget.usd:
            more = f"and the next turn may cost {need.usd or 0:.4f}"
            return Refused(scope, f"the {scope} has used {used.usd:.4f} of {budget.usd:f} US dollars {more}")
    return None
