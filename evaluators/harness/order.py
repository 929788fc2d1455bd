"""What a measurement is given, and what it writes down on its way."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evaluators.child.frames import pack_files
from evaluators.contract import Profile, Progress
from evaluators.harness.shelf import Shelf
from evaluators.sandbox import Isolation


@dataclass(frozen=True)
class Order:
    """One recipe to be measured, and under which conditions.

    train: documents that are handed to the recipe, or where they lie. data_sha256: split -> hash of what it is
    measured on; evaluator_sha256: hash of the code that measures. ``report`` may raise Cancelled.
    """

    profile: Profile
    source: Mapping[str, bytes]
    seed: int
    split: str
    isolation: Isolation
    report: Callable[[Progress], None]
    train: tuple[bytes, ...] | Shelf
    data_sha256: Mapping[str, str]
    evaluator_sha256: str


@dataclass
class Record:
    """What is known so far about one measurement."""

    code_bytes: int
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, float | int | str] = field(default_factory=dict)
    secondary: dict[str, float] = field(default_factory=dict)
    payload_bytes: int | None = None
    artifact_sha256: str = ""
    train_units: int | None = None
    eval_units: int | None = None
    log: bytes = b""


def count_code(source: Mapping[str, bytes]) -> int:
    """Bytes that the recipe's own files cost: their canonical packing under LZMA."""
    return len(lzma.compress(pack_files(source), lzma.FORMAT_ALONE, preset=9))
