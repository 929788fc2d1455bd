"""What the released tables of each environment hold (arXiv 2605.05724 and its released records)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trials.vocab import Direction


class TraceError(ValueError):
    """A released run that cannot be imported: the message names file, line and column."""


@dataclass(frozen=True)
class Layout:
    """One environment's table.

    score: name of its column; figures: numeric columns beside score and ``delta_vs_best``; recipe: the file that
    ``snapshots/all/<id>.py`` is a copy of; limits: as published, in bytes and seconds; gate: least mean accuracy;
    machine: what the published runs ran on; per_seed: ``total_s`` is the mean of ``n_seeds`` runs, not their sum.
    """

    environment: str
    score: str
    unit: str
    direction: Direction
    figures: tuple[str, ...]
    recipe: str
    machine: str
    limits: Mapping[str, int] = field(default_factory=dict)
    gate: float | None = None
    per_seed: bool = False


#: Columns without which a row is no trial; the score's comes on top.
REQUIRED = ("exp_id", "timestamp", "specialist", "parent_exp", "hypothesis", "status")
#: Columns of text or ids that every published table has as well.
USUAL = ("baseline_exp", "domain", "expected_delta", "delta_vs_best", "job_name", "snapshot_path", "notes")

LAYOUTS = {
    layout.environment: layout
    for layout in (
        Layout(
            "parameter_golf", "val_bpb", "bits per byte", Direction.LOWER,
            ("artifact_bytes", "train_s", "eval_s", "total_s"), "train_gpt.py", "8 x H100",
            {"artifact_bytes": 16_000_000, "train_seconds": 600, "eval_seconds": 600},
        ),
        Layout(
            "nanochat_d12", "core_metric", "centred accuracy", Direction.HIGHER,
            ("val_bpb", "train_s", "total_s"), "experiment.py", "8 x H100", {"train_seconds": 5400},
        ),
        Layout(
            "cifar_airbench96", "train_s", "s", Direction.LOWER,
            ("accuracy", "acc_std", "n_seeds", "total_s"), "airbench96.py", "one GPU", gate=0.96, per_seed=True,
        ),
    )
}  # fmt: skip


def layout_of(environment: str) -> Layout:
    """Raises TraceError for an environment without released runs."""
    try:
        return LAYOUTS[environment]
    except KeyError:
        known = ", ".join(LAYOUTS)
        raise TraceError(f"environment {environment!r} has no released layout, expected one of: {known}") from None
