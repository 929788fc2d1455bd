"""Runs that are not here: other rosters, columns, directions, line ends and damage; every figure is counted again."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trials.traces.recount import recount
from tests.trials.traces.runs import DATA, line_of
from trials.models import Campaign, Trial
from trials.report import build_report
from trials.services.traces import import_trace
from trials.traces.folder import read_trace
from trials.traces.layouts import layout_of

pytestmark = pytest.mark.django_db
Rows = list[dict[str, str]]
TREE = ("exp_id", "parent_exp", "depth", "path", "specialist", "status")


def released(name: str = "pg_lineage_on") -> Rows:
    with (DATA / name / "results.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def written(folder: Path, rows: Rows, score: str, **how: Any) -> Path:
    """The run as files. lines: its rows, where they are not as the rows are; end, mark: of lines and of the file."""
    folder.mkdir(exist_ok=True)
    lines = how.get("lines") or [line_of(row.values()) for row in rows]
    text = "\n".join(["\t".join(rows[0]), *lines]) + "\n"
    (folder / "results.tsv").write_bytes((how.get("mark", "") + text.replace("\n", how.get("end", "\n"))).encode())
    names = (*TREE, score, "delta_vs_best", "hypothesis")
    tree = ["\t".join(" ".join(row.get(name, "").split()) for name in names) for row in rows]
    (folder / "tree.tsv").write_text("\n".join(["\t".join(names), *tree]) + "\n")
    return folder


def checked(folder: Path, rows: Rows, environment: str) -> Campaign:
    """Import it, and hold every figure of the report against the count over the rows."""
    layout = layout_of(environment)
    campaign = import_trace(read_trace(folder, layout), "Variant")
    said, expected = build_report(campaign).body, recount(rows, layout.score)
    for name in ("trials", "keeps", "labels", "start", "best", "infrastructure_failures", "cross_role_keep_parent"):
        assert said[name] == expected[name], name
    for name in ("relative_change_pct", "trials_per_hour"):
        assert said[name] == pytest.approx(expected[name], rel=1e-12), name
    assert [tuple(step.values()) for step in said["frontier"]] == expected["frontier"]
    found = tuple(said["diversity"][name] for name in ("effective_clusters", "largest_share", "near_duplicate_rate"))
    assert found == pytest.approx(expected["diversity"], rel=1e-6)
    if all("total_s" in row for row in rows):
        assert sum(said["machine_hours"].values()) == pytest.approx(expected["machine_hours"], rel=1e-9)
    return campaign


@pytest.mark.parametrize("name", ["pg_lineage_on", "cifar_airbench96"])
def test_published_runs_by_a_count_of_their_rows(name: str) -> None:
    checked(DATA / name, released(name), "cifar_airbench96" if name.startswith("cifar") else "parameter_golf")


def test_another_roster_seventeen_columns_in_another_order_and_numbers_past_999(tmp_path: Path) -> None:
    rows = []
    for row in released():
        shift = 1000 if row["exp_id"] != "000" else 0
        parent = row["parent_exp"] and (f"exp_{int(row['parent_exp']) + 1000}" if int(row["parent_exp"]) else "exp_000")
        role = f"generalist_{len(row['specialist']) % 3}" if shift else "baseline"
        new = row | {"exp_id": f"{int(row['exp_id']) + shift:03d}", "parent_exp": parent, "specialist": role}
        rows.append({name: new[name] for name in reversed(new) if name != "eval_s"})
    folder = written(tmp_path / "run", rows, "val_bpb", end="\r\n", mark="\ufeff")
    campaign = checked(folder, rows, "parameter_golf")
    assert (campaign.last_number, len(rows[0])) == (1200, 17)


def test_a_higher_score_is_better(tmp_path: Path) -> None:
    rows = []
    for row in released():
        score = row["val_bpb"] and f"{0.2 + 2 * (1.081 - float(row['val_bpb'])):.6f}"
        delta = row["delta_vs_best"] and f"{-2 * float(row['delta_vs_best']):+.6f}"
        names = [name for name in row if name not in ("artifact_bytes", "eval_s", "val_bpb")]
        new = {name: row[name] for name in names} | {"delta_vs_best": delta}
        rows.append(dict(list(new.items())[:9]) | {"core_metric": score, "val_bpb": row["val_bpb"]} | new)
    folder = written(tmp_path / "run", rows, "core_metric")
    assert len(rows[0]) == 17
    campaign = checked(folder, rows, "nanochat_d12")
    assert campaign.best_score is not None and campaign.start_score is not None
    assert (campaign.direction, campaign.best_score > campaign.start_score) == ("higher", True)


def _some(draw: random.Random, cells: list[str]) -> str:
    return "".join(cell + draw.choice("\t ") for cell in cells)[:-1]


def _quoted(draw: random.Random, cells: list[str]) -> str:
    wordy = ['"' + cell.replace('"', '""') + '"' if number in (6, 17) else cell for number, cell in enumerate(cells)]
    return "\t".join(wordy[:7]) + " " + " ".join(wordy[7:])


#: What has happened to lines of the published runs; each gives back every cell.
DAMAGES: dict[str, Callable[[random.Random, list[str]], str]] = {
    "every tab": lambda draw, cells: " ".join(cells),
    "some tabs": _some,
    "behind the hypothesis, which is quoted": _quoted,
    "empty cells at the end are cut": lambda draw, cells: " ".join(cells).rstrip(),
    "a tab is lost": lambda draw, cells: "\t".join(cells[:8]) + " " + "\t".join(cells[8:]),
}


def test_forty_six_damaged_rows(tmp_path: Path) -> None:
    rows, draw = released(), random.Random(46)
    for row in rows[1:]:  # as published: a model's stray markup stands in some of them
        if draw.random() < 0.1:
            row["hypothesis"] += ' </hypothesis> <parameter name="notes">more text -0.5 keep of it'
    damaged = sorted(draw.sample(range(1, len(rows)), 46))
    lines = [line_of(row.values()) for row in rows]
    for count, number in enumerate(damaged):
        damage = list(DAMAGES.values())[count % len(DAMAGES)]
        lines[number] = damage(draw, [" ".join(cell.split()) for cell in rows[number].values()])
    folder = written(tmp_path / "run", rows, "val_bpb", lines=lines)
    trace = read_trace(folder, layout_of("parameter_golf"))
    assert [line.partition(":")[0] for line in trace.repaired] == [
        f"results.tsv line {number + 2}, trial {number:03d}" for number in damaged
    ]
    assert list(trace.warnings) == []
    campaign = checked(folder, rows, "parameter_golf")
    assert Trial.objects.of(campaign.pk).count() == 201


def test_rows_that_are_cut_or_run_together_lose_nothing_unsaid(tmp_path: Path) -> None:
    """What tree.tsv has is taken from there; a row that follows another in the same line is a row of its own."""
    rows = released()
    lines = [line_of(row.values()) for row in rows]
    lines[50] = lines[50][:80]
    lines[60] += " " + lines.pop(61)
    lines[70] += "\t" + lines.pop(71)
    folder = written(tmp_path / "run", rows, "val_bpb", lines=lines)
    trace = read_trace(folder, layout_of("parameter_golf"))
    assert [row.number for row in trace.rows] == list(range(201))
    assert [row.cells["status"] for row in trace.rows] == [row["status"] for row in rows]
    assert [row.cells["val_bpb"] for row in trace.rows] == [row["val_bpb"] for row in rows]
    assert [line.partition(":")[0] for line in trace.repaired] == ["results.tsv line 52, trial 050"]
    told = "\n".join(trace.warnings)
    assert "results.tsv line 52, trial 050: its cells are not found: read from tree.tsv, empty: " in told
    assert "results.tsv line 62: trial 061 begins within the line of another" in told
    assert "results.tsv line 72: trial 072 begins within the line of another" in told
    assert trace.rows[61].cells == rows[61] and trace.rows[72].cells == rows[72]
