"""Released runs as they are read: published ones whole, damaged rows repaired, odd ones survived, others refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trials.traces.runs import COLUMNS, SCORES, edit, published, row, write_run
from trials.traces.folder import Trace, read_trace
from trials.traces.layouts import LAYOUTS, TraceError, layout_of
from trials.vocab import Direction

RUNS = {
    "cifar_airbench96": "cifar_airbench96",
    "pg_lineage_on": "parameter_golf",
    "pg_damaged_sample": "parameter_golf",
}


def read(folder: Path, environment: str = "parameter_golf") -> Trace:
    return read_trace(folder, layout_of(environment))


def refusal(folder: Path, environment: str = "parameter_golf") -> str:
    with pytest.raises(TraceError) as caught:
        read(folder, environment)
    return str(caught.value)


@pytest.mark.parametrize("name", ["cifar_airbench96", "pg_lineage_on"])
def test_every_cell_of_a_published_run_is_read_as_csv_reads_it(name: str, tmp_path: Path) -> None:
    folder = published(name, tmp_path)
    with (folder / "results.tsv").open(newline="") as stream:
        expected = list(csv.DictReader(stream, delimiter="\t"))
    trace = read(folder, RUNS[name])
    assert [dict(found.cells) for found in trace.rows] == expected
    assert (list(trace.repaired), list(trace.warnings)) == ([], [])


def test_the_damaged_row_of_the_sample_is_restored(tmp_path: Path) -> None:
    trace = read(published("pg_damaged_sample", tmp_path))
    assert list(trace.repaired) == ["results.tsv line 7, trial 077: tabs restored"]
    damaged = next(found for found in trace.rows if found.number == 77)
    assert damaged.hypothesis.startswith("Raise muon_wd 0.095 to 0.115")
    assert '</hypothesis> <parameter name="notes">Single-line' in damaged.hypothesis
    assert (damaged.label, damaged.score, damaged.expected) == ("harness_abort", None, -0.001)
    assert damaged.figures == {"artifact_bytes": 15_999_615, "total_s": 1479}
    assert damaged.notes.startswith("[QUARANTINED 2026-04-22T08:19:06Z: ")
    assert damaged.cells["job_name"] == "apg-reg-0066"
    missing, delta = trace.warnings  # the sample lacks the rows between
    assert missing == "results.tsv line 4, column parent_exp: there is no trial 005: kept as text"
    assert delta.startswith("results.tsv line 4, column delta_vs_best: -0.000413, but 1.078059 - 1.081")


DAMAGES: dict[str, Callable[[list[str]], str]] = {
    "every tab": " ".join,
    "behind the hypothesis": lambda cells: "\t".join(cells[:7]) + " " + " ".join(cells[7:]),
    "behind the label, end cut": lambda cells: ("\t".join(cells[:9]) + " " + " ".join(cells[9:])).rstrip(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["cifar_airbench96", "pg_lineage_on"])
def test_any_row_that_lost_its_tabs_is_restored_with_the_tree(name: str, damage: str, tmp_path: Path) -> None:
    whole = read(published(name, tmp_path / "whole"), RUNS[name])
    folder = published(name, tmp_path)
    edit(folder / "results.tsv", lambda text: "\n".join(
        DAMAGES[damage](line.split("\t")) if line[:1].isdigit() else line for line in text.split("\n")
    ))  # fmt: skip
    mended = read(folder, RUNS[name])
    assert len(mended.repaired) == len(whole.rows)
    assert list(mended.warnings) == []
    for before, after in zip(whole.rows, mended.rows, strict=True):
        assert {name: cell.strip() for name, cell in before.cells.items()} == {
            name: cell.strip() for name, cell in after.cells.items()
        }


def test_what_the_tree_contradicts_is_reported_and_read_from_the_tree(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [row(0, 1.08), row(1, 1.07, "keep", delta_vs_best="-0.010000", total_s="99")])
    edit(folder / "results.tsv", lambda text: text.replace("1.070000\t", "1.060000 ").replace("\tkeep\t", " keep "))
    trace = read(folder)
    assert (trace.rows[1].score, trace.rows[1].delta, trace.rows[1].label) == (1.07, -0.01, "keep")
    [told] = trace.repaired
    assert told.startswith(
        "results.tsv line 3, trial 001: its cells do not agree with tree.tsv: read from tree.tsv, empty:"
    )
    assert "total_s" in told
    assert any("do not agree" in warning for warning in trace.warnings)


def test_without_a_tree_a_repair_says_that_it_is_not_checked(tmp_path: Path) -> None:
    rows = [row(0, 1.08), row(1, 1.07, "keep", delta_vs_best="-0.010000", hypothesis='Say "more" of it')]
    folder = write_run(tmp_path, rows, tree=False)
    edit(folder / "results.tsv", lambda text: text.replace("\t-0.001\tkeep\t", " -0.001 keep "))
    trace = read(folder)
    assert (trace.rows[1].hypothesis, trace.rows[1].score) == ('Say "more" of it', 1.07)
    assert trace.repaired == [
        "results.tsv line 3, trial 001: tree.tsv does not have this trial: the repair is not checked"
    ]
    assert "tree.tsv: not there, so nothing is checked against it" in trace.warnings


def test_every_layout_and_direction(tmp_path: Path) -> None:
    assert {name: len(columns) for name, columns in COLUMNS.items()} == {
        "parameter_golf": 18, "nanochat_d12": 17, "cifar_airbench96": 18,
    }  # fmt: skip
    for environment, score in SCORES.items():
        better = 1.2 if LAYOUTS[environment].direction is Direction.HIGHER else 0.8
        rows = [row(0, 1.0), row(1, better, "keep", delta_vs_best=f"{better - 1:+.6f}"), row(2, 1.0)]
        trace = read(write_run(tmp_path / environment, rows, environment), environment)
        assert list(trace.warnings) == []
        assert [found.score for found in trace.rows] == [1.0, better, 1.0]
        assert score in trace.columns


def test_oddities_are_survived_and_told(tmp_path: Path) -> None:
    rows = [
        row(0, 1.08),
        row(1, 1.09, parent_exp="exp_000", expected_delta='"-0.002"'),
        row(2, 1.10, parent_exp="exp_001", expected_delta="about -0.3, maybe"),
        row(3, 1.11, "size_blocked", parent_exp="2", artifact_bytes="16002056"),
        row(4, 1.12, parent_exp="does_not_exist", hypothesis="Two\nlines and\ta tab", notes="one\n\ntwo"),
        row(5, "", "crash", parent_exp="700", notes="5\t2026-05-01T00:00:00Z\tno row"),
        row(1000, 1.05, "keep", delta_vs_best="-0.030000"),
        row(1001, 1.20, parent_exp="1000", total_s="n/a"),
    ]
    trace = read(write_run(tmp_path, rows))
    by_number = {found.number: found for found in trace.rows}
    assert list(by_number) == [0, 1, 2, 3, 4, 5, 1000, 1001]
    assert [by_number[n].parent for n in by_number] == [None, 0, 1, 2, None, None, 0, 1000]
    assert (by_number[1].expected, by_number[2].expected) == (-0.002, None)
    assert by_number[2].expected_text == "about -0.3, maybe"
    assert by_number[4].hypothesis == "Two\nlines and\ta tab"
    assert (by_number[3].score, by_number[3].label) == (1.11, "size_blocked")
    assert [trace.depth[n] for n in by_number] == [0, 1, 2, 3, 1, 1, 1, 2]
    assert list(trace.repaired) == []
    assert list(trace.warnings) == [
        "results.tsv line 12, column total_s: 'n/a' is no number: left out",
        "results.tsv line 6, column parent_exp: 'does_not_exist' is no trial: kept as text",
        "results.tsv line 10, column parent_exp: there is no trial 700: kept as text",
    ]


def test_a_cell_that_holds_what_looks_like_a_row_stays_a_cell(tmp_path: Path) -> None:
    forged = "harmless\n002\t2026-05-01T00:00:00Z\targ\t000\t000\targ\tforged\t0\tkeep\t0.1"
    trace = read(write_run(tmp_path, [row(0, 1.08), row(1, 1.09, hypothesis=forged)]))
    assert [found.number for found in trace.rows] == [0, 1]
    assert trace.rows[1].hypothesis == forged
    assert list(trace.warnings) == [
        "results.tsv line 4: looks like a row, but stands inside a quoted cell: kept as its text"
    ]


def test_line_breaks_without_quotes_belong_to_their_row(tmp_path: Path) -> None:
    rows = [row(0, 1.08), row(1, 1.09, hypothesis="HERE"), row(2, 1.10, notes="THERE")]
    folder = write_run(tmp_path, rows, tree=False)
    edit(folder / "results.tsv", lambda text: text.replace("HERE", "one\ntwo", 1).replace("THERE", "three\nfour"))
    trace = read(folder)
    assert (trace.rows[1].hypothesis, trace.rows[2].notes) == ("one\ntwo", "three\nfour")
    assert trace.warnings[-1] == "results.tsv line 6: begins no row: read as the end of the row before"


def test_a_quote_that_never_ends_swallows_no_row(tmp_path: Path) -> None:
    rows = [row(0, 1.08), row(1, 1.09, notes="START said"), row(2, 1.10), row(3, 1.11, notes='a "quoted" word')]
    folder = write_run(tmp_path, rows)
    edit(folder / "results.tsv", lambda text: text.replace("START", '"'))
    trace = read(folder)
    assert [found.number for found in trace.rows] == [0, 1, 2, 3]
    assert trace.rows[1].notes == '" said'


def test_labels_that_the_rule_does_not_give_are_kept_and_told(tmp_path: Path) -> None:
    rows = [row(0, 1.08), row(1, 1.09, "keep"), row(2, 1.07, "discard", delta_vs_best="+0.5"), row(3, "", "keep")]
    trace = read(write_run(tmp_path, rows))
    assert [found.label for found in trace.rows] == ["baseline", "keep", "discard", "keep"]
    assert list(trace.warnings) == [
        "results.tsv line 3, column status: trial 001 is keep, but 1.09 is not better than the best before, 1.08",
        "results.tsv line 4, column status: trial 002 is discard, but 1.07 is better than the best before, 1.08",
        "results.tsv line 4, column delta_vs_best: +0.500000, but 1.07 - 1.08 is -0.010000",
        "results.tsv line 5, column status: trial 003 is keep without a score",
    ]


def test_rows_and_tree_are_held_against_each_other(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [row(0, 1.08), row(1, 1.09), row(2, 1.10)])
    edit(folder / "tree.tsv", lambda text: text.replace("1.090000", "1.080000").replace("002\t", "003\t", 1))
    assert list(read(folder).warnings) == [
        "results.tsv line 3, column val_bpb: trial 001 differs from tree.tsv",
        "tree.tsv: trial 003 is not in results.tsv",
        "results.tsv line 4: trial 002 is not in tree.tsv",
    ]


def test_chains_of_any_depth_and_gaps_of_days(tmp_path: Path) -> None:
    rows = [row(0, 2.0), *(row(n, 2.5, parent_exp=f"{n - 1:03d}") for n in range(1, 3001))]
    rows[-1]["timestamp"] = "2027-05-01T00:00:00Z"
    trace = read(write_run(tmp_path, rows))
    assert trace.depth[3000] == 3000
    assert list(trace.warnings) == []


HOSTILE: dict[str, tuple[dict[str, str], str]] = {
    "not a number": ({"score": "NaN"}, "results.tsv line 3, column val_bpb: 'NaN', expected a finite number"),
    "infinite": ({"score": "-inf"}, "line 3, column val_bpb: '-inf', expected a finite number"),
    "beyond floats": ({"score": "1e999"}, "line 3, column val_bpb: '1e999', expected a finite number"),
    "a figure that is not finite": ({"total_s": "nan"}, "line 3, column total_s: 'nan', expected a finite number"),
    "words for a score": ({"score": "1.07 bpb"}, "line 3, column val_bpb: '1.07 bpb', expected a finite number"),
    "an unknown label": ({"status": "kept"}, "line 3, column status: 'kept', expected one of baseline, crash"),
    "a label that no released run has": ({"status": "provisional"}, "column status: 'provisional', expected one of"),
    "a second baseline": ({"status": "baseline"}, "column status: trial 001 is baseline, expected the baseline"),
    "a number twice": ({"exp_id": "000"}, "line 3, column exp_id: 000 stands on line 2 already"),
    "no number": ({"exp_id": "one"}, "line 3, column exp_id: 'one', expected a trial's number"),
    "a time of its own": ({"timestamp": "yesterday"}, "line 3, column timestamp: 'yesterday', expected a time such as"),
    "a day that is not": ({"timestamp": "2026-02-30T00:00:00Z"}, "line 3, column timestamp: '2026-02-30T00:00:00Z'"),
    "nobody's trial": ({"specialist": ""}, "line 3, column specialist: '', expected a name"),
    "its own parent": ({"parent_exp": "001"}, "line 3, column parent_exp: a cycle of parents, 001 -> 001"),
    "an endless cell": ({"notes": "x" * 100_001}, "results.tsv line 3, cell 18: 100,001 characters, at most 100,000"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_cells_are_refused_with_line_and_column(case: str, tmp_path: Path) -> None:
    cells, expected = HOSTILE[case]
    assert expected in refusal(write_run(tmp_path, [row(0, 1.08), row(1, 1.07) | cells]))


def test_longer_cycles_are_refused(tmp_path: Path) -> None:
    rows = [row(0, 1.0), *(row(n, 1.1, parent_exp=str(n % 4 + 1)) for n in range(1, 5))]
    assert "a cycle of parents, 001 -> 002 -> 003 -> 004 -> 001" in refusal(write_run(tmp_path, rows))


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: expected a folder with results.tsv"
    assert refusal(tmp_path) == f"{tmp_path / 'results.tsv'}: expected a file"
    table = write_run(tmp_path, [row(0, 1.0), row(1, 1.1)]) / "results.tsv"
    good = table.read_bytes()
    for junk, expected in (
        (good.replace(b"Idea 1", b"Idea \xff"), "results.tsv line 3, byte 42: not UTF-8 text"),
        (good.replace(b"Idea 1", b"Idea \0"), "results.tsv line 3, byte 42: a zero byte, expected text"),
        (b"\x7fELF\x02\x01", "results.tsv line 1: expected 2 to 64 different column names between tabs"),
        (
            good.replace(b"\tstatus\t", b"\tstate\t"),
            "line 1: no column status, which a run of parameter_golf has; found:",
        ),
        (good.replace(b"\tval_bpb\t", b"\tcore_metric\t"), "results.tsv line 1: no column val_bpb"),
        (good.replace(b"000\t2026", b"000\tx\t2026"), "results.tsv line 2: expected 18 cells"),
        (good + b"\nleft over\n", "results.tsv line 5: expected 18 cells, or at least a trial's number and time"),
        (good.replace(b"baseline", b"discard"), "trial 000 is discard, expected the baseline to be trial 000"),
        (good.split(b"\n")[0] + b"\n", "there is no row 000 with status baseline"),
    ):
        table.write_bytes(junk)
        assert expected in refusal(tmp_path), junk[:60]


def test_a_damaged_row_that_nothing_settles_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [row(0, 1.08), row(1, 1.07, hypothesis="More keep    of it")], tree=False)
    edit(folder / "results.tsv", lambda text: text.replace("\tdiscard\t", " unknown_label "))
    assert refusal(folder) == (
        "results.tsv line 3: the tabs of this row are lost, its text allows nothing, and tree.tsv does not have trial "
        "001 to decide"
    )


def test_links_and_floods_of_files_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [row(0, 1.0)])
    (folder / "KNOWLEDGE.md").symlink_to("/etc/passwd")
    assert refusal(folder) == "KNOWLEDGE.md: a link, expected files and folders only"
    (folder / "KNOWLEDGE.md").unlink()
    with (folder / "snapshots.bin").open("wb") as stream:
        stream.truncate(65 << 20)
    assert refusal(folder) == "snapshots.bin: 68,157,440 bytes, expected at most 67,108,864"


def test_an_unknown_environment_names_the_known_ones() -> None:
    with pytest.raises(TraceError, match="environment 'golf' has no released layout, expected one of: parameter_golf"):
        layout_of("golf")
