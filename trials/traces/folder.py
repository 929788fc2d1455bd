"""A folder of one released run: the table, the tree to check it against, and every other file, kept as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from trials.traces.layouts import REQUIRED, USUAL, Layout, TraceError
from trials.traces.repair import differences, repair
from trials.traces.rows import Row, check_ids, depths, parents, read_row
from trials.traces.table import MAX_TABLE_BYTES, Table, read_table, read_text
from trials.vocab import Label

TABLE = "results.tsv"
TREE = "tree.tsv"
TREE_COLUMNS = ("exp_id", "parent_exp", "depth", "path", "specialist", "status")
MAX_FILE_BYTES = 64 << 20
MAX_FILES = 5_000
MAX_ALL_BYTES = 1 << 30
SAME = 1e-6
NOT_SOURCE = frozenset({".log", ".jsonl", ".out", ".err"})
MAX_SOURCE_BYTES = 1 << 20

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trace:
    """A released run, checked. ``rows`` in order; ``parent``, ``depth`` by number; ``files`` by path: size in bytes.

    repaired: one line for each row that lost its tabs. warnings: what differs or could not be read, one line each.
    """

    folder: Path
    layout: Layout
    columns: Sequence[str]
    rows: Sequence[Row]
    parent: Mapping[int, int | None]
    depth: Mapping[int, int]
    files: Mapping[str, int]
    repaired: Sequence[str] = ()
    warnings: Sequence[str] = ()


@dataclass
class _Notes:
    repaired: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_trace(folder: Path, layout: Layout, say: Progress = lambda line: None) -> Trace:
    """The run in ``folder``. Raises TraceError with file, line and column for what cannot be imported."""
    if not folder.is_dir():
        raise TraceError(f"{folder}: expected a folder with {TABLE}")
    notes = _Notes()
    files = _files(folder, notes)
    table = read_table(folder / TABLE)
    _check_columns(table, layout, notes)
    say(f"{TABLE}: {len(table.records)} rows, {len(table.header)} columns")
    tree = _read_tree(folder, notes)
    rows = _rows(table, layout, tree, notes)
    check_ids(table, rows)
    rows.sort(key=lambda row: row.number)
    parent, told = parents(table, rows)
    notes.warnings += told
    rows = [replace(row, parent=parent[row.number]) for row in rows]
    depth = depths(parent)
    _compare_tree(rows, table, layout, tree, notes)
    _check_times(rows, table, notes)
    _check_rule(rows, table, layout, notes)
    _check_best(folder, rows, notes)
    say(f"{len(notes.repaired)} rows repaired, {len(notes.warnings)} warnings")
    return Trace(folder, layout, table.header, rows, parent, depth, files, notes.repaired, notes.warnings)


def _files(folder: Path, notes: _Notes) -> dict[str, int]:
    """Every regular file below the folder. Links are refused: they may lead anywhere."""
    found: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise TraceError(f"{name}: a link, expected files and folders only")
        if path.is_dir():
            continue
        if not path.is_file():
            raise TraceError(f"{name}: expected a file")
        if any(part.startswith(".") for part in PurePosixPath(name).parts):
            notes.warnings.append(f"{name}: hidden, not imported")
            continue
        found[name] = path.stat().st_size
        if found[name] > (MAX_TABLE_BYTES if name == TABLE else MAX_FILE_BYTES):
            raise TraceError(f"{name}: {found[name]:,} bytes, expected at most {MAX_FILE_BYTES:,}")
    if len(found) > MAX_FILES or sum(found.values()) > MAX_ALL_BYTES:
        raise TraceError(f"{folder}: expected at most {MAX_FILES:,} files of {MAX_ALL_BYTES:,} bytes together")
    return found


def _check_columns(table: Table, layout: Layout, notes: _Notes) -> None:
    missing = [name for name in (*REQUIRED, layout.score) if name not in table.header]
    if missing:
        raise TraceError(
            f"{table.name} line 1: no column {', '.join(missing)}, which a run of {layout.environment} has; "
            f"found: {', '.join(table.header)[:300]}"
        )
    known = (*REQUIRED, layout.score, *USUAL, *layout.figures)
    for name in known:
        if name not in table.header:
            notes.warnings.append(f"{table.name} line 1: no column {name}: empty in every trial")
    for name in table.header:
        if name not in known:
            notes.warnings.append(f"{table.name} line 1: column {name[:60]!r} is not known: kept as text")


def _read_tree(folder: Path, notes: _Notes) -> dict[int, dict[str, str]]:
    """Lines of tree.tsv by trial number. The reference writes it without quotes and without line breaks in cells."""
    if not (folder / TREE).exists():
        notes.warnings.append(f"{TREE}: not there, so nothing is checked against it")
        return {}
    lines = [line.removesuffix("\r") for line in read_text(folder / TREE, MAX_FILE_BYTES).split("\n")]
    header = lines[0].split("\t")
    if any(name not in header for name in TREE_COLUMNS):
        raise TraceError(f"{TREE} line 1: expected the columns {', '.join(TREE_COLUMNS)}, found {lines[0][:200]!r}")
    tree: dict[int, dict[str, str]] = {}
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t", len(header) - 1)
        if not line:
            continue
        if len(cells) != len(header) or not cells[0].isdigit():
            notes.warnings.append(f"{TREE} line {number}: {len(cells)} cells, expected {len(header)}: not used")
        elif int(cells[0]) in tree:
            notes.warnings.append(f"{TREE} line {number}: trial {cells[0]} stands there twice: the first one counts")
        else:
            tree[int(cells[0])] = dict(zip(header, cells, strict=True))
    return tree


def _rows(table: Table, layout: Layout, tree: Mapping[int, Mapping[str, str]], notes: _Notes) -> list[Row]:
    rows = []
    notes.warnings += [
        f"{table.name} line {line}: looks like a row, but stands inside a quoted cell: kept as its text"
        for line in table.inner
    ]
    notes.warnings += [
        f"{table.name} line {line}: trial {number} begins within the line of another: read as a row of its own"
        for line, number in table.joined
    ]
    for record in table.records:
        if record.loose:
            where = f"{table.name} line {record.line + record.text.count(chr(10)) - record.loose.count(chr(10))}"
            notes.warnings.append(f"{where}: begins no row: read as the end of the row before")
        if record.cells is not None:
            cells: Mapping[str, str] = dict(zip(table.header, record.cells, strict=True))
        else:
            mended = repair(table, record, layout, tree)
            cells = {**dict.fromkeys(table.header, ""), **mended.cells}
            where = f"{table.name} line {record.line}, trial {cells['exp_id']}"
            notes.repaired.append(f"{where}: {'tabs restored' if not mended.doubts else '; '.join(mended.doubts)}")
            notes.warnings += [f"{where}: {doubt}" for doubt in mended.doubts]
        rows.append(read_row(table, record.line, cells, layout, notes.warnings))
        differing = differences(cells, tree.get(rows[-1].number, {}), layout)
        if differing and record.cells is not None:
            where = table.at(record.line, " and ".join(differing))
            notes.warnings.append(f"{where}: trial {cells['exp_id']} differs from {TREE}")
    return rows


def _compare_tree(
    rows: Sequence[Row], table: Table, layout: Layout, tree: Mapping[int, Mapping[str, str]], notes: _Notes
) -> None:
    """Trials that only one of the two files has."""
    if not tree:
        return
    numbers = {row.number for row in rows}
    missing = [number for number in sorted(tree) if number not in numbers]
    notes.warnings += [f"{TREE}: trial {number:03d} is not in {table.name}" for number in missing]
    notes.warnings += [
        f"{table.name} line {row.line}: trial {row.number:03d} is not in {TREE}"
        for row in rows
        if row.number not in tree
    ]


def _check_times(rows: Sequence[Row], table: Table, notes: _Notes) -> None:
    """Numbers are given when a trial is recorded, so time should go on with them."""
    for earlier, later in pairwise(rows):
        if later.at < earlier.at:
            where = table.at(later.line, "timestamp")
            notes.warnings.append(f"{where}: {later.number:03d} was recorded before {earlier.number:03d}")


def _check_rule(rows: Sequence[Row], table: Table, layout: Layout, notes: _Notes) -> None:
    """The paper's keep rule over the rows: strictly better than the best before. Labels stay as released."""
    best = rows[0].score
    if best is None:
        raise TraceError(f"{table.at(rows[0].line, layout.score)}: the baseline has no score, expected a number")
    for row in rows[1:]:
        if row.label not in (Label.KEEP, Label.DISCARD):
            continue
        where = table.at(row.line, "status")
        if row.score is None:
            notes.warnings.append(f"{where}: trial {row.number:03d} is {row.label} without a score")
            continue
        better = layout.direction.better(row.score, best)
        if better != (row.label is Label.KEEP):
            told = f"{row.score} is {'better' if better else 'not better'} than the best before, {best}"
            notes.warnings.append(f"{where}: trial {row.number:03d} is {row.label}, but {told}")
        if row.delta is not None and not math.isclose(row.delta, row.score - best, rel_tol=0, abs_tol=SAME):
            notes.warnings.append(
                f"{table.at(row.line, 'delta_vs_best')}: {row.delta:+.6f}, but {row.score} - {best} is "
                f"{row.score - best:+.6f}"
            )
        best = row.score if better else best


def _check_best(folder: Path, rows: Sequence[Row], notes: _Notes) -> None:
    """``best.json`` names the last keep; it is only compared."""
    path = folder / "best.json"
    if not path.exists():
        return
    try:
        told: Any = json.loads(read_text(path, MAX_SOURCE_BYTES))
        number = int(told["exp_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        notes.warnings.append("best.json: not as expected (an object with exp_id): not compared")
        return
    kept = [row.number for row in rows if row.label in (Label.KEEP, Label.BASELINE) and row.score is not None]
    if kept and number != kept[-1]:
        notes.warnings.append(f"best.json: names {number:03d}, but the last keep of {TABLE} is {kept[-1]:03d}")


def sources(trace: Trace, row: Row) -> dict[str, bytes]:
    """The recipe of a trial where the release has it: the folder that the row names, else the copy of its one file."""
    folder = PurePosixPath(row.snapshot)
    inside = bool(row.snapshot) and not folder.is_absolute() and ".." not in folder.parts
    names = [name for name in trace.files if inside and PurePosixPath(name).is_relative_to(folder)]
    found = {
        PurePosixPath(name).relative_to(folder).as_posix(): (trace.folder / name).read_bytes()
        for name in names
        if PurePosixPath(name).suffix not in NOT_SOURCE
        and trace.files[name] <= MAX_SOURCE_BYTES
        and name != row.snapshot
    }
    single = f"snapshots/all/{row.number:03d}.py"
    if not found and trace.files.get(single, MAX_SOURCE_BYTES + 1) <= MAX_SOURCE_BYTES:
        found = {trace.layout.recipe: (trace.folder / single).read_bytes()}
    return {name: data for name, data in found.items() if _is_text(data)}


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False
