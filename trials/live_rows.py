"""Rows of the table on a campaign's page. Each cell has its plain value beside the text: the page's script writes both.

As text, not as a template: fifty rows of thirteen cells are most of what the page costs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from trials import formatting
from trials.live import trial_row
from trials.models import Campaign, Trial
from trials.templatetags.trials_format import sense
from trials.vocab import TrialState

Phase = tuple[str, float | None]
#: Classes, field, title on a narrow screen, how it is written.
FIGURES = (
    ("num c-bytes", "artifact_bytes", "bytes", formatting.whole),
    ("num c-parent", "parent", "parent", None),
    ("num c-seconds c-queue", "queue_seconds", "queue s", formatting.seconds),
    ("num c-seconds c-run", "run_seconds", "run s", formatting.seconds),
    ("num c-seconds c-eval", "eval_seconds", "eval s", formatting.seconds),
)
DELTAS = (("c-dparent", "vs parent", "delta_vs_parent"), ("c-dbest", "vs best", "delta_vs_best"))


def rows_html(campaign: Campaign, rows: Sequence[Mapping[str, Any]], phases: Mapping[int, Phase]) -> list[SafeString]:
    """Lines of the table for rows as ``trials.live.trial_row`` makes them."""
    base, now, direction = campaign.get_absolute_url(), timezone.now(), campaign.direction
    return [_row(row, phases.get(row["number"]), base, direction, now) for row in rows]


def blank(campaign: Campaign) -> SafeString:
    """What the page's script clones for a trial that comes."""
    empty = trial_row(Trial(campaign=campaign, submitted_at=timezone.now())) | {"number": None, "submitted_at": None}
    return rows_html(campaign, [empty], {})[0]


def _row(row: Mapping[str, Any], phase: Phase | None, base: str, direction: str, now: datetime) -> SafeString:
    number, label, state, shown = row["number"], row["label"], row["state"], row["label"] or row["state"]
    cells = [
        _cell("num c-number", "number", number, _link(base, number)),
        _cell("c-state", "state", state, _badge(label, shown) + _doing(state, phase)),
        _cell("c-role", "role", row["role"], escape(formatting.words(row["role"]))),
        f'<td class="idea">{_span("hypothesis", row, formatting.short)}{_span("reason", row, formatting.visible)}</td>',
        _cell("num c-score", "score", row["score"], formatting.score(row["score"]), "score"),
    ]
    for css, title, name in DELTAS:
        told = f"num c-delta {css} {sense(row[name], direction)}"
        cells.append(_cell(told, name, row[name], formatting.delta(row[name]), title))
    for css, name, title, show in FIGURES:
        text = _link(base, row[name]) if show is None else show(row[name])
        cells.append(_cell(css, name, row[name], text, title))
    at = row["submitted_at"]
    cells.append(_cell("num c-age", "submitted_at", at, _when(at, now), "submitted"))
    head = f'<tr data-number="{_raw(number)}" data-label="{escape(label)}">'
    return mark_safe(f"{head}{''.join(cells)}</tr>\n")  # noqa: S308 - every text is escaped above


def _raw(value: object) -> str:
    """A value for ``data-value``: JSON, and nothing at all for None."""
    return "" if value is None else escape(value) if isinstance(value, str) else json.dumps(value)


def _cell(css: str, name: str, value: object, html: str, title: str = "") -> str:
    shown = f' data-title="{title}"' if title else ""
    return f'<td class="{css}"{shown} data-field="{name}" data-value="{_raw(value)}">{html}</td>'


def _span(name: str, row: Mapping[str, Any], show: Any) -> str:
    text = row[name]
    return f'<span class="{name}" data-field="{name}" data-value="{escape(text)}">{escape(show(text))}</span>'


def _link(base: str, number: int | None) -> str:
    return formatting.NOTHING if number is None else f'<a href="{base}trials/{number:d}/">{number:d}</a>'


def _badge(label: str, shown: str) -> str:
    value, name, text = escape(label), escape(shown), escape(formatting.words(shown))
    return f'<span class="badge" data-field="label" data-value="{value}" data-name="{name}">{text}</span>'


def _doing(state: str, phase: Phase | None) -> str:
    """What is being done and how far it is; hidden where nothing is, for the page's script to show."""
    text, progress = ("", 0) if phase is None else (formatting.phase(*phase), phase[1])
    off = "" if state == TrialState.RUNNING or phase else " hidden"
    bar_off = " hidden" if progress is None else ""
    bar = f'<progress max="1" value="{json.dumps(progress or 0)}" aria-label="Progress"{bar_off}></progress>'
    return f'<div class="doing"{off}>{bar}<span class="phase">{escape(text)}</span></div>'


def _when(at: str | None, now: datetime) -> str:
    """How long ago; the page's script keeps it fresh and adds the exact time in the reader's zone."""
    if at is None:
        return formatting.NOTHING
    return f'<time datetime="{at}" data-ago="">{formatting.ago(datetime.fromisoformat(at), now)}</time>'
