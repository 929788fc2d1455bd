"""Rows that lost their tabs: every boundary between two cells is then a tab or one space.

What stands in a row is found from its fixed points (number, time, label, figures, job) and from the line of the same
trial in ``tree.tsv``. A reading is taken only where it is the only one that the tree agrees with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trials.traces.layouts import Layout, TraceError
from trials.traces.table import HEAD, Record, Table, unquoted
from trials.vocab import Label

GAP = "[\t ]"
NUMBER = r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
LABELS = "|".join(sorted((label.value for label in Label), key=len, reverse=True))
FRONT = re.compile(
    rf'"?(?P<exp_id>\d{{1,9}})"?{GAP}"?(?P<timestamp>\S{{20}})"?'
    rf"{GAP}(?P<specialist>\S*){GAP}(?P<parent_exp>\S*){GAP}(?P<baseline_exp>\S*){GAP}(?P<domain>\S*){GAP}",
)
FIXED = ("exp_id", "timestamp", "specialist", "parent_exp", "baseline_exp", "domain")
TEXTS = ("hypothesis", "expected_delta", "status")
BACK = ("job_name", "snapshot_path", "notes")


@dataclass(frozen=True)
class Repaired:
    """Cells of a repaired row by column; ``doubts`` says what could not be read, or was not there to check against."""

    cells: Mapping[str, str]
    doubts: tuple[str, ...]


def repair(table: Table, record: Record, layout: Layout, tree: Mapping[int, Mapping[str, str]]) -> Repaired:
    """A row's cells. ``tree``: lines of tree.tsv by trial number. Raises TraceError when nothing can be read."""
    head = HEAD.match(record.text)
    if head is None:
        raise TraceError(
            f"{table.name} line {record.line}: expected {len(table.header)} cells, or at least a trial's number "
            f"and time, found {record.text[:60]!r}"
        )
    known = tree.get(int(head[1]))
    readings = list(_readings(table, record.text))
    if known is not None:
        settled = [_settled(reading, known) for reading in readings]
        for allowed, doubts in ((), ()), (("hypothesis",), ("its hypothesis differs from tree.tsv",)):
            agreed = [cells for cells in settled if tuple(differences(cells, known, layout)) == allowed]
            if len(agreed) == 1:
                return Repaired(agreed[0], doubts)
        return _from_tree(table, record, known, layout, readings)
    if len(readings) != 1:
        found = "nothing" if not readings else f"{len(readings)} readings"
        raise TraceError(
            f"{table.name} line {record.line}: the tabs of this row are lost, its text allows {found}, and tree.tsv "
            f"does not have trial {head[1]} to decide"
        )
    cells = _settled(readings[0], None)
    return Repaired(cells, ("tree.tsv does not have this trial: the repair is not checked",))


def _readings(table: Table, text: str) -> Iterator[dict[str, str]]:
    """Every way to read the row: one for each place where a label with fitting cells behind it stands."""
    front = FRONT.match(text)
    if front is None or table.header[:6] != FIXED or tuple(table.header[6:9]) != TEXTS or table.header[-3:] != BACK:
        return
    figures = table.header[9:-3]
    cells = "".join(f"(?:{GAP}(?P<{name}>{NUMBER})?" for name in figures)
    back = rf"(?:{GAP}(?P<job_name>\S+)?(?:{GAP}(?P<snapshot_path>snapshots/\S+)?(?:{GAP}(?P<notes>.*))?)?)?"
    tail = re.compile(rf"{GAP}(?P<status>{LABELS}){cells}{back}{')?' * len(figures)}$", re.DOTALL)
    begin = front.end()
    for place in re.finditer(rf"{GAP}(?:{LABELS})(?={GAP}|$)", text[begin - 1 :]):
        found = tail.match(text, begin - 1 + place.start())
        if found is not None:
            middle = text[begin : found.start()]
            yield {
                name: unquoted(value.strip()) if name == "notes" else value
                for name, value in (front.groupdict() | found.groupdict(default="")).items()
            } | {"middle": middle}


def _settled(reading: Mapping[str, str], known: Mapping[str, str] | None) -> dict[str, str]:
    """The reading with its middle split into hypothesis and expected difference."""
    cells = {name: value for name, value in reading.items() if name != "middle"}
    middle = reading["middle"]
    hypothesis, expected = _split_middle(middle) if known is None else _split_by(middle, known["hypothesis"])
    return cells | {"hypothesis": hypothesis, "expected_delta": expected}


def _split_middle(middle: str) -> tuple[str, str]:
    """Without a tree: a quoted hypothesis ends with its quote, a plain one before a last number."""
    quoted = re.fullmatch(rf'("(?:[^"]|"")*")(?:{GAP}(.*))?', middle, re.DOTALL)
    if quoted is not None:
        return unquoted(quoted[1]), unquoted(quoted[2] or "")
    plain = re.fullmatch(rf"(.*){GAP}({NUMBER})", middle, re.DOTALL)
    return (plain[1], plain[2]) if plain is not None else (middle.strip(), "")


def _split_by(middle: str, hypothesis: str) -> tuple[str, str]:
    """By the tree's text of the hypothesis; white space may differ. Falls back on what the row itself tells."""
    quoted = re.fullmatch(rf'("(?:[^"]|"")*")(?:{GAP}(.*))?', middle, re.DOTALL)
    if quoted is not None and bare(unquoted(quoted[1])) == bare(hypothesis):
        return unquoted(quoted[1]), unquoted(quoted[2] or "")
    wanted, seen = bare(hypothesis), 0
    for index, character in enumerate(middle):
        if seen == len(wanted):
            return middle[:index].rstrip(), unquoted(middle[index:].strip())
        if not character.isspace():
            if character != wanted[seen]:
                break
            seen += 1
    return (middle.strip(), "") if seen == len(wanted) else _split_middle(middle)


def bare(text: str) -> str:
    """The text without white space: damaged and copied rows differ in it."""
    return "".join(text.split())


def differences(cells: Mapping[str, str], known: Mapping[str, str], layout: Layout) -> list[str]:
    """Columns in which a row and the tree's line of the same trial differ."""
    names = ("specialist", "status", layout.score, "delta_vs_best", "parent_exp", "hypothesis")
    return [
        name
        for name in names
        if name in known and bare(cells.get(name, "")) != bare(known[name])
        and not (name == "parent_exp" and _plain_id(cells.get(name, "")) == _plain_id(known[name]))
    ]  # fmt: skip


def _plain_id(text: str) -> str:
    return text.strip().removeprefix("exp_").lstrip("0")


def _from_tree(
    table: Table, record: Record, known: Mapping[str, str], layout: Layout, readings: list[dict[str, str]]
) -> Repaired:
    """What the tree knows of a row whose own text cannot be read; the rest stays empty and is reported."""
    front = FRONT.match(record.text)
    head = HEAD.match(record.text)
    if head is None or known.get("status", "") not in {label.value for label in Label}:
        raise TraceError(f"{table.name} line {record.line}: the tabs of this row are lost and tree.tsv does not help")
    cells = dict.fromkeys(table.header, "")
    if front is not None and table.header[:6] == FIXED:
        cells |= front.groupdict()
    same = ("specialist", "status", "hypothesis", "delta_vs_best", "parent_exp", layout.score)
    cells |= {name: known[name] for name in same if name in known}
    cells |= {"exp_id": head[1], "timestamp": head[0][-20:]}
    why = "cannot be told apart" if len(readings) > 1 else "do not agree with tree.tsv" if readings else "are not found"
    lost = ", ".join(name for name in table.header if not cells[name] and name not in ("snapshot_path", "notes"))
    return Repaired(cells, (f"its cells {why}: read from tree.tsv, empty: {lost or 'nothing'}",))
