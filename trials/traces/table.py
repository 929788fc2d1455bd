"""Tab-separated tables as the reference writes them: cells may be quoted, a quoted cell may hold line breaks.

A record that is not well-formed is handed on as it lies there, up to where the next row begins.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trials.traces.layouts import TraceError

MAX_TABLE_BYTES = 256 << 20
MAX_CELL = 100_000
MAX_COLUMNS = 64
MAX_ROWS = 1_000_000

#: How a row begins: its number and the time of its record.
HEAD = re.compile(r'"?(\d{1,9})"?[\t ]+"?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ')

#: Where a row begins within the line of another, because the line break between them is lost.
JOINED = re.compile(r'[\t ](?="?(\d{1,9})"?[\t ]+"?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)')

QUOTED = re.compile(r'"((?:[^"]|"")*)"', re.DOTALL)


@dataclass(frozen=True)
class Record:
    """One row. ``cells`` is None where the text does not split into as many cells as the header has.

    loose: lines behind a whole row that begin none of their own, which were added to its last cell.
    """

    line: int
    text: str
    cells: tuple[str, ...] | None
    loose: str = ""


@dataclass(frozen=True)
class Table:
    """Header and rows; ``name`` is the file's, for messages.

    inner: lines inside a cell that look like rows. joined: line and trial of rows that began within another's line.
    """

    name: str
    header: tuple[str, ...]
    records: Sequence[Record]
    inner: Sequence[int] = ()
    joined: Sequence[tuple[int, str]] = ()

    def at(self, line: int, column: str) -> str:
        """Where something is, as messages say it."""
        return f"{self.name} line {line}, column {column}"


def read_text(path: Path, limit: int = MAX_TABLE_BYTES) -> str:
    """A file of UTF-8 text. Raises TraceError for what is no file, too large, or binary (with line and column)."""
    if path.is_symlink() or not path.is_file():
        raise TraceError(f"{path}: expected a file")
    size = path.stat().st_size
    if size > limit:
        raise TraceError(f"{path.name}: {size:,} bytes, expected at most {limit:,}")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TraceError(f"{path.name} {_place(data, error.start)}: not UTF-8 text ({error.reason})") from None
    nothing = data.find(b"\0")
    if nothing >= 0:
        raise TraceError(f"{path.name} {_place(data, nothing)}: a zero byte, expected text")
    return text


def _place(data: bytes, offset: int) -> str:
    start = data.rfind(b"\n", 0, offset) + 1
    return f"line {data.count(bytes([10]), 0, offset) + 1}, byte {offset - start + 1}"


def read_table(path: Path) -> Table:
    """The whole table. Raises TraceError with file and line."""
    lines = [line.removesuffix("\r") for line in read_text(path).split("\n")]
    header = tuple(lines[0].split("\t"))
    if len(header) > MAX_COLUMNS or len(set(header)) != len(header) or len(header) < 2:
        raise TraceError(f"{path.name} line 1: expected 2 to {MAX_COLUMNS} different column names between tabs")
    begun = {head[1] for line in lines if (head := HEAD.match(line))}
    records: list[Record] = []
    inner: list[int] = []
    joined: list[tuple[int, str]] = []
    index = 1
    while index < len(lines):
        if not lines[index]:
            index += 1
            continue
        line = index + 1 - len(joined)
        record, taken = _record(path.name, lines, index, line, len(header))
        found = None if record.cells is not None else JOINED.search(lines[index], 1)
        if found is not None and HEAD.match(lines[index]) and found[1] not in begun:
            lines[index : index + 1] = [lines[index][: found.start()], lines[index][found.end() :]]
            record, taken = _record(path.name, lines, index, line, len(header))
            joined.append((line, found[1]))
            begun.add(found[1])
        if record.cells is not None and not record.loose:
            inner += [line + number for number in range(1, taken) if HEAD.match(lines[index + number])]
        records.append(record)
        index += taken
        if len(records) > MAX_ROWS:
            raise TraceError(f"{path.name} line {line}: more than {MAX_ROWS:,} rows")
    return Table(path.name, header, records, inner, joined)


def _record(name: str, lines: Sequence[str], index: int, line: int, columns: int) -> tuple[Record, int]:
    """The record that begins at ``index``, line ``line`` of the file, and how many lines it takes, up to where the next
    row begins."""
    cells, taken = _quoted(lines, index)
    if cells is not None and len(cells) != columns:
        cells, taken = None, 1
    end = index + taken
    few = columns - 1 if cells is None else 1  # tabs that a row's line has at least: a broken row may go on with some
    while end < len(lines) and lines[end] and lines[end].count("\t") < few and not HEAD.match(lines[end]):
        end += 1
    text = "\n".join(lines[index:end])
    loose = "\n".join(lines[index + taken : end])
    if cells is None:
        plain = tuple(unquoted(cell) for cell in text.split("\t"))
        cells, loose = (plain if len(plain) == columns else None), ""
    elif loose:
        cells = (*cells[:-1], f"{cells[-1]}\n{loose}")
    for number, cell in enumerate(cells or (text,), 1):
        if len(cell) > MAX_CELL:
            raise TraceError(f"{name} line {line}, cell {number}: {len(cell):,} characters, at most {MAX_CELL:,}")
    return Record(line, text, cells, loose), end - index


def unquoted(cell: str) -> str:
    """A cell without the quotes around it, where those inside are doubled; else the cell as it is."""
    whole = QUOTED.fullmatch(cell)
    return cell if whole is None else whole[1].replace('""', '"')


def _quoted(lines: Sequence[str], index: int) -> tuple[tuple[str, ...] | None, int]:
    """Cells by the rules of quoting, and the lines they take; None where a quote does not end as it should."""
    if '"' not in lines[index]:
        return tuple(lines[index].split("\t")), 1
    following = (lines[number] + "\n" for number in range(index, len(lines)))  # csv itself bounds a cell's length
    reader = csv.reader(following, delimiter="\t", strict=True)
    try:
        return tuple(next(reader)), reader.line_num
    except (csv.Error, StopIteration):
        return None, 1
