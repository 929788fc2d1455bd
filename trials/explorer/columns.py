"""Columns of the table of trials: each knows its cell on a page and its value in a file.

Cells are written here, not in a template: a page has hundreds of them, and this is ten times cheaper. Every text goes
through ``escape``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from html import escape
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from trials import formatting
from trials.models import Campaign, Trial
from trials.standing import why
from trials.templatetags.trials_format import sense

NUMBER = "num"
#: Characters with which a spreadsheet takes a text for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
Cell = Callable[["Row", Trial], str]


@dataclass(frozen=True)
class Row:
    """What the cells of one page share."""

    campaign: Campaign
    base: str
    now: datetime
    phases: Mapping[int, tuple[str, float | None]]


@dataclass(frozen=True)
class Column:
    """heading, unit: as they stand above it; sorts: orders that its heading leads to, the usual one first."""

    name: str
    heading: str
    unit: str
    css: str
    cell: Cell
    value: Callable[[Trial], Any]
    default: bool = True
    sorts: Sequence[str] = ()


def inert_cell(value: Any) -> Any:
    """A value for a file: a text that a spreadsheet would take for a formula begins with an apostrophe."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    plain = value.replace("\x00", "")
    return f"'{plain}" if plain.lstrip(" ").startswith(FORMULA) else plain


def _plain(show: Callable[[Any], str], name: str) -> Cell:
    """A text of the trial's."""

    def cell(row: Row, trial: Trial) -> str:
        return escape(show(getattr(trial, name)))

    return cell


def _figure(show: Callable[[Any], str], name: str) -> Cell:
    """A number as ``trials.formatting`` writes it."""

    def cell(row: Row, trial: Trial) -> str:
        return show(getattr(trial, name))

    return cell


def _link(row: Row, number: int) -> str:
    return f'<a href="{row.base}trials/{number:d}/">{number:d}</a>'


def _number(row: Row, trial: Trial) -> str:
    return _link(row, trial.number)


def parent_number(trial: Trial) -> int | None:
    """As ``TrialQuerySet.for_table`` has read it."""
    number: int | None = trial.parent_number  # type: ignore[attr-defined]
    return number


def _parent(row: Row, trial: Trial) -> str:
    number = parent_number(trial)
    return formatting.NOTHING if number is None else _link(row, number)


@lru_cache(maxsize=128)
def badge(name: str) -> str:
    """A state or label: word, glyph and colour, as ``trials/_badge.html``."""
    return f'<span class="badge" data-name="{escape(name)}">{escape(formatting.words(name))}</span>'


def _state(row: Row, trial: Trial) -> str:
    shown = badge(trial.standing or trial.state)
    doing = row.phases.get(trial.number)
    return shown if doing is None else f'{shown}<span class="doing">{escape(formatting.phase(*doing))}</span>'


def _recorded(row: Row, trial: Trial) -> str:
    return badge(trial.label) if trial.label else formatting.NOTHING


def _idea(row: Row, trial: Trial) -> str:
    idea = f'<span class="hypothesis">{escape(formatting.short(trial.hypothesis))}</span>'
    reason = why(trial)
    return f'{idea}<span class="reason">{escape(formatting.short(reason))}</span>' if reason else idea


def _delta(name: str, row: Row, trial: Trial) -> str:
    value = getattr(trial, name)
    return f'<span class="{sense(value, row.campaign.direction)}">{formatting.delta(value)}</span>'


def _when(name: str, row: Row, trial: Trial) -> str:
    """How long ago; the page's script adds the exact time in the reader's zone."""
    at = getattr(trial, name)
    if at is None:
        return formatting.NOTHING
    return f'<time datetime="{at.isoformat()}" data-ago="">{formatting.ago(at, row.now)}</time>'


def _attribute(name: str) -> Callable[[Trial], Any]:
    def value(trial: Trial) -> Any:
        found = getattr(trial, name)
        return found.isoformat() if isinstance(found, datetime) else found

    return value


def _column(name: str, heading: str, unit: str, css: str, cell: Cell, **more: Any) -> Column:
    return Column(name, heading, unit, css, cell, more.pop("value", _attribute(name)), **more)


_seconds = partial(_figure, formatting.seconds)
_ALL = (
    _column("number", "Trial", "", "num c-number", _number, sorts=("newest", "oldest")),
    _column("standing", "State", "", "c-state", _state),
    _column("role", "Role", "", "c-role", _plain(formatting.words, "role")),
    _column("hypothesis", "Hypothesis", "", "idea", _idea),
    _column("score", "Score", "", "num c-score", _figure(formatting.score, "score"), sorts=("best", "worst")),
    _column("delta_vs_parent", "Δ parent", "", "num c-delta c-dparent", partial(_delta, "delta_vs_parent"),
            sorts=("gain", "loss")),
    _column("delta_vs_best", "Δ best", "", "num c-delta c-dbest", partial(_delta, "delta_vs_best")),
    _column("expected_delta", "Expected", "", "num c-delta", partial(_delta, "expected_delta"), default=False),
    _column("artifact_bytes", "Artifact", "bytes", "num c-bytes", _figure(formatting.whole, "artifact_bytes")),
    _column("parent", "Parent", "", "num c-parent", _parent,
            value=parent_number),
    _column("depth", "Depth", "", "num c-parent", _figure(formatting.whole, "depth"), default=False),
    _column("queue_seconds", "Queue", "s", "num c-seconds c-queue", _seconds("queue_seconds"), default=False),
    _column("run_seconds", "Run", "s", "num c-seconds c-run", _seconds("run_seconds")),
    _column("eval_seconds", "Eval", "s", "num c-seconds c-eval", _seconds("eval_seconds")),
    _column("log_seconds", "Log", "s", "num c-seconds", _seconds("log_seconds"), default=False),
    _column("isolation_level", "Isolation", "", "c-level", _plain(str, "isolation_level"), default=False),
    _column("label", "Recorded as", "", "c-state", _recorded, default=False),
    _column("submitted_at", "Submitted", "ago", "num c-age", partial(_when, "submitted_at"), default=False),
    _column("finished_at", "Recorded", "ago", "num c-age", partial(_when, "finished_at")),
)  # fmt: skip
COLUMNS: dict[str, Column] = {column.name: column for column in _ALL}
DEFAULT = tuple(column.name for column in _ALL if column.default)
#: What a file has beside the columns of the page.
FILE_ONLY = ("state", "reason", "failure", "seed")


def row_html(row: Row, trial: Trial, columns: Sequence[Column]) -> SafeString:
    """One line of the table."""
    cells = "".join(
        f'<td class="{column.css}" data-title="{column.heading} {column.unit}">{column.cell(row, trial)}</td>'
        for column in columns
    )
    head = f'<tr data-number="{trial.number:d}" data-label="{escape(trial.standing)}">'
    return mark_safe(f"{head}{cells}</tr>\n")  # noqa: S308 - every cell is escaped already, headings are this file's


def options_html(names: Mapping[str, str], chosen: str) -> SafeString:
    """Options of a choice: value -> what stands there."""
    return mark_safe(  # noqa: S308 - escaped here
        "".join(
            f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
            for value, text in names.items()
        )
    )


def rows_html(
    campaign: Campaign, trials: Sequence[Trial], names: Sequence[str], phases: Mapping[int, Any]
) -> list[SafeString]:
    """Lines of the table, in order."""
    row = Row(campaign, campaign.get_absolute_url(), timezone.now(), phases)
    columns = [COLUMNS[name] for name in names]
    return [row_html(row, trial, columns) for trial in trials]


def file_header() -> list[str]:
    return [*COLUMNS, *FILE_ONLY]


def file_row(trial: Trial) -> list[Any]:
    """One line of a file: plain values, times in ISO 8601, texts inert."""
    told = [column.value(trial) for column in COLUMNS.values()]
    rest = [trial.state, why(trial), trial.failure, trial.seed]
    return [inert_cell(value) for value in (*told, *rest)]
