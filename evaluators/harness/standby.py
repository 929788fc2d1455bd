"""The next sandbox of a trial: its walls go up while the one before it still works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluators.sandbox import Bounds, Confined, Isolation, spawn


class Standby:
    """Fresh sandboxes, one after the other. One that waits has not seen a byte of a recipe.

    Only warm ones are started ahead: a cold one would load torch beside a recipe whose CPU seconds are counted.
    """

    def __init__(self, isolation: Isolation, bounds: Bounds) -> None:
        self._isolation, self._bounds = isolation, bounds
        self._waiting: Confined | None = None
        self._leaving: list[Confined] = []

    def take(self, readonly: Sequence[Path] = ()) -> Confined:
        """A sandbox whose walls stand; to be given back by ``leave``. Raises SandboxUnavailable.

        readonly: files that it is to see; one that waits sees none, and goes on waiting then.
        """
        if self._waiting is None or readonly:
            return spawn(self._isolation, self._bounds, argv=(), readonly=readonly)
        taken, self._waiting = self._waiting, None
        taken.confirm()
        return taken

    def prepare(self) -> None:
        """Start the one that ``take`` will hand out next. Raises SandboxUnavailable."""
        if self._isolation.start == "warm" and self._waiting is None:
            self._waiting = spawn(self._isolation, self._bounds, argv=(), wait=False)

    def leave(self, taken: Confined) -> None:
        """End what ran in it: returns when that is dead. Its empty walls come down while the next one works."""
        taken.sweep()
        self._leaving.append(taken)

    def close(self) -> None:
        """Wait until nothing is left of any of them."""
        waiting = [] if self._waiting is None else [self._waiting]
        for confined in (*waiting, *self._leaving):
            confined.close()
        self._waiting, self._leaving = None, []
