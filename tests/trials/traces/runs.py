"""Released runs as files: copies of the published ones, and made-up ones with whatever oddity a test needs."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "data" / "traces"
USUAL = (
    "exp_id",
    "timestamp",
    "specialist",
    "parent_exp",
    "baseline_exp",
    "domain",
    "hypothesis",
    "expected_delta",
    "status",
)
COLUMNS = {
    "parameter_golf": (*USUAL, "val_bpb", "delta_vs_best", "artifact_bytes", "train_s", "eval_s", "total_s",
                       "job_name", "snapshot_path", "notes"),
    "nanochat_d12": (*USUAL, "core_metric", "delta_vs_best", "val_bpb", "train_s", "total_s",
                     "job_name", "snapshot_path", "notes"),
    "cifar_airbench96": (*USUAL, "train_s", "accuracy", "acc_std", "n_seeds", "delta_vs_best", "total_s",
                         "job_name", "snapshot_path", "notes"),
}  # fmt: skip
SCORES = {"parameter_golf": "val_bpb", "nanochat_d12": "core_metric", "cifar_airbench96": "train_s"}
TREE = ("exp_id", "parent_exp", "depth", "path", "specialist", "status")


def published(name: str, to: Path) -> Path:
    """A writable copy of a published run."""
    folder = to / name
    shutil.copytree(DATA / name, folder)
    return folder


def row(number: int, score: float | str = "", label: str = "discard", **cells: Any) -> dict[str, str]:
    """One row under the neutral names ``score`` and the table's own; a trial an hour from 2026-05-01 on."""
    day, hour = divmod(number, 24)
    values = {
        "exp_id": f"{number:03d}",
        "timestamp": f"2026-{5 + day // 28:02d}-{1 + day % 28:02d}T{hour:02d}:00:00Z",
        "specialist": "baseline" if number == 0 else "arch",
        "parent_exp": "" if number == 0 else "000",
        "hypothesis": f"Idea {number} with a longer context",
        "expected_delta": "-0.001",
        "status": "baseline" if number == 0 else label,
        "score": f"{score:.6f}" if isinstance(score, float) else score,
        "job_name": "" if number == 0 else f"apg-arch-{number:04d}",
    }
    return values | {name: str(value) for name, value in cells.items()}


def line_of(cells: Iterable[str]) -> str:
    """One line as the reference's writer quotes it; it has as many line breaks as the cells have."""
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="\n").writerow(list(cells))
    return out.getvalue()[:-1]


def write_run(
    folder: Path, rows: Iterable[Mapping[str, str]], environment: str = "parameter_golf", *, tree: bool = True
) -> Path:
    """``results.tsv`` and, unless told otherwise, the ``tree.tsv`` that belongs to it."""
    folder.mkdir(parents=True, exist_ok=True)
    columns, score = COLUMNS[environment], SCORES[environment]
    named = [{score if name == "score" else name: value for name, value in cells.items()} for cells in rows]
    lines = [line_of(columns), *(line_of(cells.get(name, "") for name in columns) for cells in named)]
    (folder / "results.tsv").write_text("\n".join(lines) + "\n")
    if tree:
        (folder / "tree.tsv").write_text("\n".join(_tree(named, score)) + "\n")
    return folder


def _tree(rows: list[dict[str, str]], score: str) -> list[str]:
    header = (*TREE, score, "delta_vs_best", "hypothesis")
    flat = [{name: " ".join(value.split()) for name, value in cells.items()} for cells in rows]
    return ["\t".join(header), *("\t".join(cells.get(name, "") for name in header) for cells in flat)]


def edit(path: Path, change: Any) -> None:
    """Rewrites a file through ``change(text)``."""
    path.write_text(change(path.read_text()))
