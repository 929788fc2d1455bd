"""The slice as a whole: values in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from trials.lineage import render
from trials.lineage.entries import Entry, Foretold, Headroom
from trials.vocab import LineagePolicy

#: So many of a role's newest trials in a row that hardly moved the score are called saturation, as in the paper.
SATURATED = 5


@dataclass(frozen=True)
class LineageSlice:
    """All that one proposal may be based on. ``up_to`` is the highest revealed trial number (None: everything).

    chain: the best and its ancestors, oldest first, ``chain_gap`` of them left out of the middle; held, failed: the
    role's own trials that counted as progress, and those that did not; children: of the best; surface: greatest gains
    by roles that own some of the same files; similar: hypotheses near the role's last one or the best's; alike:
    failures like the role's last one, and what repaired them; mistaken: predictions furthest from what was measured.
    quiet: how many of the role's newest trials in a row hardly moved the score; since_best: trials numbered after it.
    origin: text of the campaign that this one started from, as it was then. asks: a person approves what may be built
    on.
    """

    policy: str
    role: str
    direction: str
    score_name: str
    start_score: float | None
    best: Entry | None
    up_to: int | None
    chain: Sequence[Entry] = ()
    leaderboard: Sequence[Entry] = ()
    recent: Sequence[Entry] = ()
    held: Sequence[Entry] = ()
    failed: Sequence[Entry] = ()
    children: Sequence[Entry] = ()
    surface: Sequence[Entry] = ()
    similar: Sequence[Entry] = ()
    alike: Sequence[Entry] = ()
    mistaken: Sequence[Entry] = ()
    chain_gap: int = 0
    quiet: int = 0
    since_best: int | None = None
    foretold: Foretold | None = None
    headroom: Sequence[Headroom] = ()
    origin: str = ""
    asks: bool = False

    def blocks(self) -> dict[str, Sequence[Entry]]:
        """The blocks by name, in the order of the text."""
        return {name: getattr(self, name) for name in render.BLOCKS}

    def entries(self) -> list[Entry]:
        """Every distinct trial of the slice, by number."""
        found = {entry.number: entry for block in self.blocks().values() for entry in block}
        if self.best is not None:
            found.setdefault(self.best.number, self.best)
        return [found[number] for number in sorted(found)]

    def fitted(self) -> LineageSlice:
        """The slice with every block cut to its budget: what is in it is exactly what its text shows."""
        blocks: dict[str, Any] = {**render.fit(self.blocks())}
        return replace(self, chain_gap=self.chain_gap + len(self.chain) - len(blocks["chain"]), **blocks)

    def text(self) -> str:
        """The exact text that is stored with the trial and, for language models, put in the prompt."""
        return self._text

    @cached_property
    def _text(self) -> str:
        shown = self.policy != LineagePolicy.NONE
        body = ["", *render.lines(self.blocks(), self.chain_gap)] if shown else ["Earlier trials are not shown here."]
        return "\n".join([*self._head(), *body]) + "\n" + self.origin

    def _head(self) -> list[str]:
        """Facts in this program's own words: nothing here was written by an agent or a recipe."""
        number = render.number
        lines = [f"role: {render.flat(self.role)}", f"lineage: {self.policy}"]
        lines.append(f"score: {self.score_name} ({self.direction} is better)")
        if self.up_to is not None and self.policy != LineagePolicy.NONE:
            lines.append(f"outcomes revealed up to trial {self.up_to}")
        if self.start_score is not None:
            lines.append(f"start: {self.start_score:.6f}")
        if self.best is not None:
            since = f", {self.since_best:,} trials ago" if self.since_best else ""
            lines.append(f"best: trial {self.best.number} at {number(self.best.score)}{since}")
        if self.asks:
            lines.append("a person approves what becomes the base: nothing may be built on a provisional trial")
        for room in self.headroom:
            used, limit, left = (render.amount(value) for value in (room.used, room.limit, room.left))
            lines.append(f"left by the best: {room.name} {used} of {limit} {room.unit}, {left} left")
        if self.foretold is not None:
            told = self.foretold
            lines.append(
                f"predictions: {told.right} of the newest {told.trials} had the right sign; on average "
                f"{number(told.promised, signed=True)} was promised and {number(told.measured, signed=True)} measured"
            )
        if self.quiet >= SATURATED:
            lines.append(
                f"saturation: your newest {self.quiet} trials hardly moved the score; leave that knob and change "
                "something structural"
            )
        return lines
