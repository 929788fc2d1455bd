"""The judge's word on one measurement, as it enters the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trials import confirm

JUDGE = "judge"


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one measurement: ``valid`` or a failure label, reason, score, exact numbers."""

    label: str
    reason: str
    score: float | None
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Gate:
    """What several measurements of one recipe say about a gate: their mean accuracy, and how far it is below."""

    accuracy: float
    deficit: float


def gate_of(numbers: Sequence[Mapping[str, Any]]) -> Gate | None:
    """The mean over measurements whose figures name a gate (``correct``, ``scored``, ``gate``); None where none do."""
    told = [found for found in numbers if {"correct", "scored", "gate"} <= set(found)]
    if not told:
        return None
    counts = [(int(found["correct"]), int(found["scored"])) for found in told]
    accuracy = sum(correct for correct, _ in counts) / sum(scored for _, scored in counts)
    return Gate(accuracy, confirm.gate_deficit(counts, float(told[0]["gate"])))
