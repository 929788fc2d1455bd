"""What is left of the money that campaigns may spend on language models."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

from specialists.budgets import Budget
from specialists.models import Account
from trials.models import Campaign


@dataclass(frozen=True)
class Purse:
    """US dollars that all sessions of a campaign have paid, and its limit (None: none).

    unpriced: requests of which nobody knows what they cost.
    """

    paid: Decimal
    unpriced: int
    limit: Decimal | None

    @property
    def left(self) -> Decimal | None:
        """Never less than nothing; None without a limit."""
        return None if self.limit is None else max(Decimal(0), self.limit - self.paid)


def purses(campaigns: Collection[Campaign]) -> dict[int, Purse]:
    """By primary key, of those campaigns that have a limit or have paid; one query for all of them."""
    accounts = Account.objects.filter(campaign__in=[campaign.pk for campaign in campaigns], role="")
    used = {pk: (cost, unpriced) for pk, cost, unpriced in accounts.values_list("campaign_id", "cost", "unpriced")}
    found = {one.pk: Purse(*used.get(one.pk, (Decimal(0), 0)), _limit(one)) for one in campaigns}
    return {pk: purse for pk, purse in found.items() if purse.limit is not None or purse.paid or purse.unpriced}


def _limit(campaign: Campaign) -> Decimal | None:
    """Fixed at launch; a campaign of the catalogue has no plan for language models."""
    return Budget.from_json(campaign.agent.get("budgets", {}).get("campaign", {})).usd
