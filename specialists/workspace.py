"""Parent source + edited files -> the complete source and its unified diff."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from trials.diffview import common_ends

CONTEXT = 3
"""Lines shown around a change."""
_HUNK = re.compile(r"^@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")


def unified_diff(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """One unified diff over all files, by name; empty when nothing differs."""
    parts: list[str] = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            lines = _lines(old.splitlines(keepends=True), new.splitlines(keepends=True), name)
            parts += [line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines]
    return "".join(parts)


def _lines(old: Sequence[str], new: Sequence[str], name: str) -> Iterator[str]:
    """Of one file. Only what lies between the common start and the common end is compared, with its context."""
    start, end = common_ends(old, new)
    above, below = max(0, start - CONTEXT), max(0, end - CONTEXT)
    left, right = old[above : len(old) - below], new[above : len(new) - below]
    for line in difflib.unified_diff(left, right, f"a/{name}", f"b/{name}", n=CONTEXT):
        hunk = _HUNK.match(line)
        if hunk is None:
            yield line
        else:
            before, many, after, others = hunk.groups(default="")
            yield f"@@ -{int(before) + above}{many} +{int(after) + above}{others} @@\n"


def decode(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: data.decode("utf-8") for name, data in files.items()}


def encode(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode("utf-8") for name, text in files.items()}
