"""Rows as typed values: every cell is checked, and what the rows say of each other (ids, parents, cycles, time)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from trials.traces.layouts import Layout, TraceError
from trials.traces.table import Table
from trials.vocab import Label

NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?")
TRIAL_ID = re.compile(r"(?:exp_)?(\d{1,9})")
ROLE_LENGTH = 60
RELEASED_LABELS = frozenset(label.value for label in Label) - {Label.PROVISIONAL}
SYNC_FAILURE = "sync failure"
NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
LARGEST = 1e15


@dataclass(frozen=True)
class Row:
    """One released trial.

    claimed: the parent as written; parent: its number, None where it names no trial. score: the cell of the score,
    whatever the label. figures: the other numeric cells that are filled. expected: None where it is not one number.
    texts: columns that have no place of their own. cells: all of the row, as written.
    """

    line: int
    number: int
    at: datetime
    role: str
    claimed: str
    parent: int | None
    hypothesis: str
    label: Label
    score: float | None
    delta: float | None
    expected: float | None
    expected_text: str
    figures: Mapping[str, float]
    notes: str
    snapshot: str
    texts: Mapping[str, str]
    cells: Mapping[str, str]

    @property
    def is_infrastructure(self) -> bool:
        """A failure of the harness or its hosts, not of the idea; the label stays as released."""
        crashed = self.label in (Label.CRASH, Label.PREFLIGHT_CRASH)
        return self.label is Label.HARNESS_ABORT or (crashed and SYNC_FAILURE in self.notes)


PLACED = {
    "exp_id", "timestamp", "specialist", "parent_exp", "hypothesis", "status", "delta_vs_best", "expected_delta",
    "notes", "snapshot_path",
}  # fmt: skip


def read_row(table: Table, line: int, cells: Mapping[str, str], layout: Layout, warnings: list[str]) -> Row:
    """One row's values. Raises TraceError with file, line and column; lesser oddities are added to ``warnings``."""

    def at(column: str, expected: str) -> TraceError:
        return TraceError(f"{table.at(line, column)}: {cells[column][:60]!r}, expected {expected}")

    def number(column: str) -> float | None:
        text = cells.get(column, "").strip()
        if not text:
            return None
        if NUMBER.fullmatch(text) and abs(float(text)) < LARGEST:
            return float(text)
        if column == layout.score or NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text):
            raise at(column, f"a finite number below {LARGEST:g}, or nothing")
        warnings.append(f"{table.at(line, column)}: {text[:40]!r} is no number: left out")
        return None

    if not re.fullmatch(r"\d{1,9}", cells["exp_id"]):
        raise at("exp_id", "a trial's number of at most nine digits")
    if cells["status"] not in RELEASED_LABELS:
        raise at("status", f"one of {', '.join(sorted(RELEASED_LABELS))}")
    if not 0 < len(cells["specialist"]) <= ROLE_LENGTH:
        raise at("specialist", f"a name of at most {ROLE_LENGTH} characters")
    try:
        moment = datetime.strptime(cells["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise at("timestamp", "a time such as 2026-05-01T03:55:39Z") from None
    expected = cells.get("expected_delta", "").strip().strip("\"'")
    plain = float(expected) if NUMBER.fullmatch(expected) else math.nan
    columns = [name for name in table.header if name not in PLACED and name != layout.score]
    figures = {name: value for name in columns if name in layout.figures and (value := number(name)) is not None}
    return Row(
        line=line,
        number=int(cells["exp_id"]),
        at=moment,
        role=cells["specialist"],
        claimed=cells["parent_exp"].strip(),
        parent=None,
        hypothesis=cells["hypothesis"],
        label=Label(cells["status"]),
        score=number(layout.score),
        delta=number("delta_vs_best"),
        expected=plain if math.isfinite(plain) else None,
        expected_text=cells.get("expected_delta", ""),
        figures=figures,
        notes=cells.get("notes", ""),
        snapshot=cells.get("snapshot_path", ""),
        texts={name: cells[name] for name in columns if name not in layout.figures and cells[name]},
        cells=cells,
    )


def check_ids(table: Table, rows: Sequence[Row]) -> None:
    """Numbers are unique and number 0 alone is the baseline. Raises TraceError."""
    lines: dict[int, int] = {}
    for row in rows:
        first = lines.setdefault(row.number, row.line)
        if first != row.line:
            raise TraceError(f"{table.at(row.line, 'exp_id')}: {row.number:03d} stands on line {first} already")
        if (row.label is Label.BASELINE) != (row.number == 0):
            raise TraceError(
                f"{table.at(row.line, 'status')}: trial {row.number:03d} is {row.label}, expected the baseline to be "
                "trial 000 and no other"
            )
    if 0 not in lines:
        raise TraceError(f"{table.name}: there is no row 000 with status baseline, which the others are compared with")


def parents(table: Table, rows: Sequence[Row]) -> tuple[dict[int, int | None], list[str]]:
    """The parent of each trial by number, and warnings for claims that name none. Raises TraceError for a cycle."""
    lines = {row.number: row.line for row in rows}
    found: dict[int, int | None] = {}
    warnings: list[str] = []
    for row in rows:
        named = TRIAL_ID.fullmatch(row.claimed)
        parent = int(named[1]) if named is not None else None
        if parent is not None and parent not in lines:
            warnings.append(f"{table.at(row.line, 'parent_exp')}: there is no trial {row.claimed}: kept as text")
            parent = None
        elif parent is None and row.claimed:
            warnings.append(f"{table.at(row.line, 'parent_exp')}: {row.claimed[:40]!r} is no trial: kept as text")
        elif parent is None and row.number:
            warnings.append(f"{table.at(row.line, 'parent_exp')}: trial {row.number:03d} names no parent")
        found[row.number] = parent
    _refuse_cycles(table, found, lines)
    late = [number for number, parent in found.items() if parent is not None and parent > number]
    warnings += [f"{table.at(lines[n], 'parent_exp')}: the parent of {n:03d} was recorded after it" for n in late]
    return found, warnings


def _refuse_cycles(table: Table, found: Mapping[int, int | None], lines: Mapping[int, int]) -> None:
    ended: set[int] = set()
    for start in found:
        path: dict[int, None] = {}
        at: int | None = start
        while at is not None and at not in ended:
            if at in path:
                cycle = [*list(path)[list(path).index(at) :], at]
                told = " -> ".join(f"{number:03d}" for number in cycle[:12])
                raise TraceError(f"{table.at(lines[at], 'parent_exp')}: a cycle of parents, {told}")
            path[at] = None
            at = found[at]
        ended.update(path)


def depths(found: Mapping[int, int | None]) -> dict[int, int]:
    """Steps to the root of each trial; a trial whose parent is not known counts as one step from it. Any depth."""
    known: dict[int, int] = {}
    for start in found:
        path: list[int] = []
        at = start
        while at not in known:
            path.append(at)
            parent = found[at]
            if parent is None:
                known[at] = 1 if at else 0
                path.pop()
                break
            at = parent
        for number in reversed(path):
            parent = found[number]
            known[number] = known[parent] + 1 if parent is not None else known[number]
    return known
