"""What language models have cost and may still cost, for pages of the rooms below, which do not know of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import template

from specialists.purses import Purse, purses

register = template.Library()


@register.simple_tag
def money(cards: Iterable[Mapping[str, Any]]) -> dict[int, Purse]:
    """``specialists.purses`` of the campaigns of these cards."""
    return purses([card["campaign"] for card in cards])
