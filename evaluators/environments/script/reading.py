"""What a script's log says: figures that patterns find, and why it crashed. Pure; the log is hostile text."""

from __future__ import annotations

import math
import re

from evaluators.harness.verdicts import EXCERPT_CHARACTERS, printable

LINE_CHARACTERS = 1000  # of a line are searched, so that a long one cannot keep a careless pattern busy
EXCERPT_LINES = 12
REASON_CHARACTERS = 200


def lines_of(log: bytes, limit: int) -> list[str]:
    """The lines in which figures are looked for: all, or those after the cut of a log that was longer than ``limit``.

    A sandbox keeps the first and the last half of ``limit`` bytes. What stands before the cut may have been followed by
    a later figure that is lost, so it counts for nothing.
    """
    if len(log) <= limit:
        return log.decode(errors="replace").splitlines()
    return log[-(limit // 2) :].decode(errors="replace").splitlines()[1:]  # the first line may lack its beginning


def last(pattern: str, lines: list[str]) -> str | None:
    """The ``value`` of the last match in the last line that has one."""
    compiled = re.compile(pattern)
    for line in reversed(lines):
        found = [match["value"] for match in compiled.finditer(line[:LINE_CHARACTERS])]
        if found:
            return found[-1] or ""
    return None


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(text: str) -> int | None:
    """A whole number that is not negative, with or without commas between its thousands; or None."""
    digits = text.replace(",", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def excerpt(lines: list[str]) -> tuple[str, str]:
    """(exception line, last lines) of the last traceback; ("", last lines) of a log that has none."""
    begins = [index for index, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    told = [printable(line[:LINE_CHARACTERS]) for line in lines[begins[-1] if begins else 0 :] if line.strip()]
    reason = told[-1] if begins else ""
    return reason[:REASON_CHARACTERS], "\n".join(told[-EXCERPT_LINES:])[-EXCERPT_CHARACTERS:]
