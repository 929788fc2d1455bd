"""A trial's edit beside its parent's source: aligned lines, unchanged runs folded. Pure, and bounded for any input."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trials.formatting import visible

CONTEXT = 3
MAX_LINES = 3000  # shown per side and file
MAX_PRODUCT = 1_000_000  # difflib's time grows with the product of both lengths: beyond, a file is one large change
MAX_LENGTH = 1000
WORD_DIFF_WORDS = 80
WORD_DIFF_LINES = 100
LIKE = 0.4
OPEN_LINES = 300  # changed lines that are shown unfolded; a rewrite of everything waits for a click
_WORDS = re.compile(r"\w+|\s+|.")


@dataclass(frozen=True)
class Piece:
    """Part of a line; ``changed`` marks what differs from the line beside it."""

    text: str
    changed: bool = False


@dataclass(frozen=True)
class Line:
    number: int | None
    pieces: Sequence[Piece] = ()


@dataclass(frozen=True)
class Block:
    """``kind``: ``equal`` (both sides the same), ``change`` or ``fold`` (``hidden`` unchanged lines).

    ``old`` and ``new`` have equal length; a side without a line has ``number`` None.
    """

    kind: str
    old: Sequence[Line] = ()
    new: Sequence[Line] = ()
    hidden: int = 0

    @property
    def rows(self) -> int:
        return len(self.new)


@dataclass(frozen=True)
class FileDiff:
    """One file: ``changed``, ``added`` or ``removed``. ``cut``: the tail is left out; ``folded``: shown on demand."""

    name: str
    status: str
    added: int
    removed: int
    cut: bool
    blocks: Sequence[Block] = field(default_factory=tuple)
    folded: bool = False


def diff_files(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[FileDiff]:
    """Every file that differs, by name."""
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    found, changed = [], 0
    for name in names:
        file = _diff_file(name, old.get(name), new.get(name))
        changed += file.added + file.removed
        found.append(replace(file, folded=changed > OPEN_LINES))
    return found


def _diff_file(name: str, old: bytes | None, new: bytes | None) -> FileDiff:
    left, right = _lines(old), _lines(new)
    cut = max(len(left), len(right)) > MAX_LINES
    left, right = left[:MAX_LINES], right[:MAX_LINES]
    codes = _opcodes(left, right)
    status = "added" if old is None else "removed" if new is None else "changed"
    return FileDiff(
        name=name,
        status=status,
        added=sum(j2 - j1 for tag, _, _, j1, j2 in codes if tag != "equal"),
        removed=sum(i2 - i1 for tag, i1, i2, _, _ in codes if tag != "equal"),
        cut=cut,
        blocks=_blocks(codes, left, right),
    )


Opcode = tuple[str, int, int, int, int]


def common_ends(left: Sequence[str], right: Sequence[str]) -> tuple[int, int]:
    """How many lines are the same at the start, and how many of the others at the end."""
    start, shortest = 0, min(len(left), len(right))
    while start < shortest and left[start] == right[start]:
        start += 1
    end = 0
    while end < shortest - start and left[-1 - end] == right[-1 - end]:
        end += 1
    return start, end


def _opcodes(left: Sequence[str], right: Sequence[str]) -> list[Opcode]:
    """difflib's operations on what is left between the common start and the common end."""
    start, end = common_ends(left, right)
    i2, j2 = len(left) - end, len(right) - end
    middle: list[Opcode] = []
    if (i2 - start) * (j2 - start) > MAX_PRODUCT:
        middle = [("replace", start, i2, start, j2)]
    elif i2 > start or j2 > start:
        found = difflib.SequenceMatcher(None, left[start:i2], right[start:j2]).get_opcodes()
        middle = [(tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in found]
    head: list[Opcode] = [("equal", 0, start, 0, start)] if start else []
    tail: list[Opcode] = [("equal", i2, len(left), j2, len(right))] if end else []
    return [*head, *middle, *tail]


def _lines(data: bytes | None) -> list[str]:
    """Lines without their ends; very long ones are cut with a mark."""
    if data is None:
        return []
    text = visible(data.decode("utf-8", "replace"))
    found = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if data else []
    return [line if len(line) <= MAX_LENGTH else line[:MAX_LENGTH] + " …" for line in found]


def _blocks(codes: Sequence[Opcode], left: Sequence[str], right: Sequence[str]) -> list[Block]:
    blocks: list[Block] = []
    for index, (tag, i1, i2, j1, j2) in enumerate(codes):
        if tag == "equal":
            blocks += _context(left, i1, i2, j1, first=index == 0, last=index == len(codes) - 1)
        else:
            blocks.append(_change(left[i1:i2], right[j1:j2], i1, j1))
    return blocks


def _context(left: Sequence[str], i1: int, i2: int, j1: int, *, first: bool, last: bool) -> list[Block]:
    """An unchanged run: CONTEXT lines beside each change, the middle folded when that hides more than it costs."""
    count = i2 - i1
    head = 0 if first else min(CONTEXT, count)
    tail = 0 if last else min(CONTEXT, count - head)
    hidden = count - head - tail
    if hidden <= 2:
        return [_equal(left[i1:i2], i1, j1)]
    blocks = [_equal(left[i1 : i1 + head], i1, j1)] if head else []
    blocks.append(Block("fold", hidden=hidden))
    return [*blocks, _equal(left[i2 - tail : i2], i2 - tail, j1 + count - tail)] if tail else blocks


def _equal(lines: Sequence[str], i: int, j: int) -> Block:
    return Block(
        "equal",
        [Line(i + offset + 1, (Piece(line),)) for offset, line in enumerate(lines)],
        [Line(j + offset + 1, (Piece(line),)) for offset, line in enumerate(lines)],
    )


def _change(old: Sequence[str], new: Sequence[str], i: int, j: int) -> Block:
    left: list[Line] = []
    right: list[Line] = []
    for offset in range(max(len(old), len(new))):
        before = old[offset] if offset < len(old) else None
        after = new[offset] if offset < len(new) else None
        pieces_before, pieces_after = _whole(before), _whole(after)
        if before is not None and after is not None and offset < WORD_DIFF_LINES:
            pieces_before, pieces_after = _word_diff(before, after)
        left.append(Line(None if before is None else i + offset + 1, pieces_before))
        right.append(Line(None if after is None else j + offset + 1, pieces_after))
    return Block("change", left, right)


def _word_diff(before: str, after: str) -> tuple[Sequence[Piece], Sequence[Piece]]:
    """What differs within a pair of lines; long or unlike lines are marked as a whole by their block."""
    left, right = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(left), len(right)) > WORD_DIFF_WORDS:
        return _whole(before), _whole(after)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    if matcher.ratio() < LIKE:
        return _whole(before), _whole(after)
    codes = matcher.get_opcodes()
    return (
        [Piece("".join(left[i1:i2]), tag != "equal") for tag, i1, i2, _, _ in codes if i2 > i1],
        [Piece("".join(right[j1:j2]), tag != "equal") for tag, _, _, j1, j2 in codes if j2 > j1],
    )


def _whole(line: str | None) -> Sequence[Piece]:
    return () if line is None else (Piece(line),)
