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


def untold(progress: Progress) -> None:
    """The ``report`` of an order that nobody watches."""


def count_code(source: Mapping[str, bytes]) -> int:
    """Bytes that the recipe's own files cost: their canonical packing under LZMA, preset 9."""
    packed = pack_files(source)
    # The preset's dictionary of 64 MiB takes longer to set up than to use; one that just holds all packs the same.
    enough = 1 << max(12, (len(packed) - 1).bit_length())
    coder = {"id": lzma.FILTER_LZMA1, "preset": 9, "dict_size": min(enough, 64 << 20)}
    return len(lzma.compress(packed, lzma.FORMAT_ALONE, filters=[coder]))
