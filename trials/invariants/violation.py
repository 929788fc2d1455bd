"""One thing that is not as it must be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """where: a campaign's slug, or a host; invariant: its name; what: what was found, and what was expected."""

    where: str
    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.invariant}: {self.what}"
