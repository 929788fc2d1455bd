"""What a lineage slice consists of: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One trial as evidence. ``delta_vs_parent`` is the measured gain of its edit; ``numbers`` the exact margins.

    ``proposal`` holds of the proposal what others may learn from: ``transforms``. ``expected_delta`` was foretold
    against the best of its time, so it is held against ``delta_vs_best``.
    """

    number: int
    role: str
    parent: int | None
    label: str
    reason: str
    score: float | None
    delta_vs_best: float | None
    delta_vs_parent: float | None
    artifact_bytes: int | None
    hypothesis: str
    numbers: Mapping[str, Any]
    proposal: Mapping[str, Any]
    expected_delta: float | None = None

    def anonymous(self) -> Entry:
        """What may be told of the best trial where others' trials are not shown: what it measured, not what it is."""
        return replace(
            self,
            role="",
            parent=None,
            reason="",
            delta_vs_best=None,
            delta_vs_parent=None,
            hypothesis="",
            proposal={},
            expected_delta=None,
        )


@dataclass(frozen=True)
class Foretold:
    """How the newest ``trials`` predictions came out: ``right`` had the right sign; means of what was promised and
    what was measured, both against the best of the time."""

    trials: int
    right: int
    promised: float
    measured: float


@dataclass(frozen=True)
class Headroom:
    """What the best trial leaves of a limit, in ``unit``; for a gate, how far it lies above."""

    name: str
    used: float
    limit: float
    left: float
    unit: str
