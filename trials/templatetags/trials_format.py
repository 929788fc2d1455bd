"""Numbers, times and badges in templates: thin wrappers over ``trials.formatting``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from trials import formatting
from trials.vocab import Direction

register = template.Library()

for _name in (
    "score",
    "delta",
    "percent",
    "seconds",
    "whole",
    "duration",
    "words",
    "short",
    "visible",
    "places",
    "signed",
    "part",
    "margin",
):
    register.filter(_name, getattr(formatting, _name))


@register.filter
def raw(value: object) -> str:
    """A value for ``data-value``: JSON, and nothing at all for None."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


@register.filter
def sense(value: float | None, direction: str) -> str:
    """Whether a difference of scores is for the better: ``better``, ``worse`` or nothing."""
    if value is None or value == 0:
        return ""
    return "better" if Direction(direction).better(value, 0.0) else "worse"


@register.filter
def sds(value: float, noise: float) -> str:
    """How large a difference of scores is beside the spread of one score: "3.1 sd"."""
    return f"{formatting.fixed(abs(value) / noise, 1)} sd"


@register.filter
def at_most(value: int, most: int) -> str:
    """A count that was not counted beyond ``most``."""
    return f"{formatting.whole(most)}+" if value > most else formatting.whole(value)


@register.filter
def get(mapping: dict[Any, Any], key: object) -> Any:
    return mapping.get(key)


@register.filter
def pretty(value: object) -> str:
    """JSON on lines of their own, or the text itself."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return formatting.visible(text)


@register.filter
def phase_text(phase: tuple[str, float | None] | None) -> str:
    return "" if phase is None else formatting.phase(*phase)


@register.filter
def short_hash(value: str) -> str:
    return value[:10]


@register.simple_tag
def when(at: datetime | str | None, suffix: str = "") -> SafeString | str:
    """A relative time that the page keeps fresh ("3 min", with ``suffix`` "3 min ago"); the exact one is its title."""
    if not at:
        return formatting.NOTHING
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return format_html(
        '<time datetime="{}" title="{} UTC" data-ago="{}">{}</time>',
        moment.isoformat(),
        f"{moment:%Y-%m-%d %H:%M:%S}",
        suffix,
        formatting.ago(moment, timezone.now(), suffix),
    )


@register.inclusion_tag("trials/_badge.html")
def badge(state: str, label: str = "") -> dict[str, str]:
    """State or label of a trial or campaign: word, glyph and colour."""
    return {"name": label or state, "text": formatting.words(label or state)}
