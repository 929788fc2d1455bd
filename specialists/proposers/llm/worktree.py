"""The private copy of a recipe that one session edits: in memory, never run, bounded. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from evaluators.preflight import MAX_PYTHON_BYTES
from specialists.workspace import unified_diff

NEAREST = 3
SHOWN_CHARACTERS = 160


class EditRefused(ValueError):
    """An edit that was not made; the message says why and what would work."""


class WorkTree:
    """Files of ``parent``, a trial number, and what was changed. Only ``surface`` may be written."""

    def __init__(self, parent: int, files: Mapping[str, str], surface: Sequence[str]) -> None:
        self.parent = parent
        self.base = dict(files)
        self.files = dict(files)
        self.surface = tuple(surface)

    def changed(self) -> dict[str, str]:
        """Name -> new text of every file that differs from the parent's."""
        return {name: text for name, text in self.files.items() if self.base.get(name) != text}

    def diff(self) -> str:
        return unified_diff(self.base, self.files)

    def read(self, name: str) -> str:
        """Raises EditRefused for a file that is not there."""
        if name not in self.files:
            raise EditRefused(f"there is no file {name[:80]!r}, only {', '.join(sorted(self.files))}")
        return self.files[name]

    def write(self, name: str, text: str) -> None:
        """Replace a whole file. Raises EditRefused."""
        self._may_write(name)
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_PYTHON_BYTES:
            raise EditRefused(f"{name} would have {size:,} bytes, at most {MAX_PYTHON_BYTES:,} are accepted")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EditRefused(f"the text is not UTF-8 at character {error.start}") from None
        self.files[name] = text

    def replace(self, name: str, old: str, new: str) -> int:
        """Replace the one place where ``old`` stands; returns its line. Raises EditRefused with what was found."""
        text = self.read(name)
        self._may_write(name)
        if not old:
            raise EditRefused("the old text is empty: to write a whole file use write_file")
        places = _places(text, old)
        if not places:
            raise EditRefused(f"the old text does not stand in {name}. {_nearest(text, old)}")
        if len(places) > 1:
            lines = ", ".join(str(text.count("\n", 0, place) + 1) for place in places[:12])
            raise EditRefused(
                f"the old text stands {len(places)} times in {name}, at lines {lines}: add lines around it until it is "
                "the only one"
            )
        if old == new:
            raise EditRefused("old and new text are the same")
        self.write(name, text[: places[0]] + new + text[places[0] + len(old) :])
        return text.count("\n", 0, places[0]) + 1

    def _may_write(self, name: str) -> None:
        if name not in self.files:
            raise EditRefused(
                f"there is no file {name[:80]!r}, and none can be added; yours: {', '.join(self.surface)}"
            )
        if name not in self.surface:
            raise EditRefused(
                f"{name} is outside your role's surface, which is {', '.join(self.surface)}: another role owns it, or "
                "nobody does"
            )


def _places(text: str, old: str) -> list[int]:
    found, start = [], text.find(old)
    while start >= 0:
        found.append(start)
        start = text.find(old, start + 1)
    return found


def _nearest(text: str, old: str) -> str:
    """The lines that resemble the first line of what was looked for."""
    wanted = next((line.strip() for line in old.splitlines() if line.strip()), "")
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not wanted or not lines:
        return "Read the file first."
    same = [number for number, line in lines if line.strip() == wanted]
    if same:
        shown = ", ".join(map(str, same[:NEAREST]))
        return f"Its first line stands there (line {shown}), but spacing or a later line differs."
    near = difflib.get_close_matches(wanted, {line.strip() for _, line in lines}, NEAREST, cutoff=0.4)
    if not near:
        return "No line resembles its first line: read the file."
    found = [f"line {number}: {line.strip()[:SHOWN_CHARACTERS]}" for number, line in lines if line.strip() in near]
    return "The nearest lines are:\n" + "\n".join(found[:NEAREST])
