"""Released runs in the record: every row, label, figure and text; all pages; all or nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction
from django.test import Client

from tests.trials.test_services import chain_is_whole
from tests.trials.traces.runs import edit, published, row, write_run
from trials import trial_page
from trials.models import Campaign, Event, FrontierStep, Rollup, Trial
from trials.services import traces
from trials.services.blobs import get_blob, get_tree
from trials.services.campaigns import WrongState, change_state
from trials.site_models import SiteEvent
from trials.traces.folder import read_trace
from trials.traces.layouts import layout_of
from trials.vocab import CampaignState

pytestmark = pytest.mark.django_db


def imported(folder: Path, environment: str = "parameter_golf", name: str = "Released") -> Campaign:
    return traces.import_trace(read_trace(folder, layout_of(environment)), name)


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    call_command("import_trace", *arguments, "--json")
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_command_imports_the_headline_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = published("cifar_airbench96", tmp_path)
    answer = command(capsys, str(folder), "--environment", "cifar_airbench96", "--name", "Airbench96")
    assert answer == {"campaign": "airbench96", "trials": 97, "repaired": [], "warnings": []}
    campaign = Campaign.objects.get(slug="airbench96")
    assert (campaign.state, campaign.score_source, campaign.is_released_run) == ("finished", "log", True)
    assert (campaign.start_score, campaign.best_score, campaign.keep_count) == (26.356, 25.1464, 4)
    assert campaign.best_trial is not None and campaign.best_trial.number == 70
    assert campaign.created_at.isoformat() == "2026-04-28T06:21:17+00:00"
    assert (
        campaign.finished_at == campaign.last_recorded_at == Trial.objects.of(campaign.pk).latest("number").finished_at
    )
    assert [(step.number, step.score) for step in FrontierStep.objects.filter(campaign=campaign)] == [
        (0, 26.356), (7, 26.1313), (8, 25.4369), (30, 25.2259), (70, 25.1464),
    ]  # fmt: skip


def test_every_row_stands_in_the_record_as_released(tmp_path: Path) -> None:
    folder = published("pg_lineage_on", tmp_path)
    trace = read_trace(folder, layout_of("parameter_golf"))
    campaign = imported(folder)
    found = {trial.number: trial for trial in Trial.objects.of(campaign.pk).select_related("parent")}
    assert list(found) == [row.number for row in trace.rows]
    for released in trace.rows:
        trial = found[released.number]
        cells = released.cells
        assert (trial.label, trial.role, trial.hypothesis, trial.excerpt) == (
            cells["status"], cells["specialist"], cells["hypothesis"], cells["notes"],
        )  # fmt: skip
        assert trial.finished_at == datetime.fromisoformat(cells["timestamp"])
        assert (None if trial.parent is None else trial.parent.number) == (
            int(cells["parent_exp"]) if cells["parent_exp"] else None
        )
        eligible = cells["status"] in ("baseline", "keep", "discard")
        number = float(cells["val_bpb"]) if cells["val_bpb"] else None
        assert trial.score == (number if eligible else None)
        assert trial.numbers.get("logged_score") == (None if eligible else number)
        assert trial.delta_vs_best == (float(cells["delta_vs_best"]) if cells["delta_vs_best"] else None)
        assert trial.artifact_bytes == (int(cells["artifact_bytes"]) if cells["artifact_bytes"] else None)
        assert (trial.run_seconds or 0) + (trial.eval_seconds or 0) == pytest.approx(float(cells["total_s"] or 0))
    assert Trial.objects.of(campaign.pk).filter(numbers__has_key="logged_score").count() > 20


def test_the_ledger_holds_every_row_and_the_hashes_of_the_files(tmp_path: Path) -> None:
    folder = published("pg_damaged_sample", tmp_path)
    (folder / "KNOWLEDGE.md").write_text("# What was learned\n")
    campaign = imported(folder)
    assert chain_is_whole(campaign)
    first, *others = Event.objects.filter(campaign=campaign).order_by("seq")
    assert (first.kind, first.payload["repaired"], first.payload["warnings"]) == ("trace_imported", 1, 2)
    assert set(first.payload["files"]) == {"KNOWLEDGE.md", "results.tsv", "tree.tsv"}
    for name, file in first.payload["files"].items():
        assert get_blob(file["sha256"]) == (folder / name).read_bytes()
    assert {event.kind for event in others} == {"trial_imported"}
    assert [event.payload["cells"]["exp_id"] for event in others] == ["000", "001", "017", "022", "076", "077", "078"]
    assert others[-2].payload["line"] == 7
    told = SiteEvent.objects.get(kind="imported")
    assert (told.payload["campaign"], told.payload["head"]) == (campaign.slug, campaign.head_sha256)


def test_counters_are_sums_over_the_rows(tmp_path: Path) -> None:
    campaign = imported(published("cifar_airbench96", tmp_path), "cifar_airbench96")
    trials = list(Trial.objects.of(campaign.pk))
    for field in ("label", "role"):
        counted = {cell[field]: cell["trials"] for cell in Rollup.objects.counts(campaign.pk, field)}
        assert counted == dict(Counter(getattr(trial, field) for trial in trials))
    seconds = sum(trial.numbers.get("total_s", 0) * trial.numbers.get("n_seeds", 0) for trial in trials)
    assert sum(cell["run_seconds"] for cell in Rollup.objects.counts(campaign.pk, "label")) == pytest.approx(seconds)
    reasons = {trial.number: trial.reason for trial in trials}
    assert reasons[1] == "0.00241 below the gate of 0.96"
    assert [number for number, reason in reasons.items() if "infrastructure" in reason] == [38, 39]


def test_sources_of_keeps_are_kept_and_twins_named(tmp_path: Path, client: Client) -> None:
    rows = [
        row(0, 2.0),
        row(1, 1.9, "keep", snapshot_path="snapshots/001_arch"),
        row(2, 1.8, "keep", parent_exp="001", snapshot_path="snapshots/002_arch"),
        row(3, 1.85, parent_exp="002", snapshot_path="../../etc"),
    ]
    folder = write_run(tmp_path, rows, tree=False)
    for name, text in {
        "snapshots/001_arch/train_gpt.py": "width = 4\n",
        "snapshots/001_arch/pack/model.py": "import torch\n",
        "snapshots/001_arch/eval.log": "loss 3\n",
        "snapshots/002_arch/train_gpt.py": "width = 4\n",
        "snapshots/002_arch/pack/model.py": "import torch\n",
        "snapshots/all/003.py": "width = 5\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "snapshots/001_arch/weights.bin").write_bytes(b"\0\1")
    campaign = imported(folder)
    trials = {trial.number: trial for trial in Trial.objects.of(campaign.pk).select_related("twin_of", "parent")}
    assert get_tree(trials[1].tree_sha256) == {"train_gpt.py": b"width = 4\n", "pack/model.py": b"import torch\n"}
    assert trials[2].twin_of == trials[1]
    assert get_tree(trials[3].tree_sha256) == {"train_gpt.py": b"width = 5\n"}
    assert {file.name for file in trial_page.diff_of(trials[3])} == {"train_gpt.py", "pack/model.py"}
    with pytest.raises(ValueError, match="trial 0 was imported without its source"):
        _ = trials[0].tree_sha256
    client.force_login(User.objects.create_user("viewer"))
    assert "same source as" in client.get(trials[2].get_absolute_url()).content.decode()
    assert "snapshots/001_arch/weights.bin" in campaign.spec["trace"]["files"]


def test_a_failed_import_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = published("pg_lineage_on", tmp_path)

    def fail(*arguments: object) -> None:
        raise RuntimeError("out of disk")

    monkeypatch.setattr(traces, "_advance", fail)
    with pytest.raises(RuntimeError, match="out of disk"):
        imported(folder)
    assert (Campaign.objects.count(), Trial.objects.count(), Event.objects.count()) == (0, 0, 0)


def test_refusals_are_one_line_and_write_nothing(tmp_path: Path) -> None:
    folder = published("pg_lineage_on", tmp_path)
    edit(folder / "results.tsv", lambda text: text.replace("\tkeep\t", "\tkept\t", 1))
    with pytest.raises(CommandError, match=r"results\.tsv line 4, column status: 'kept', expected one of"):
        call_command("import_trace", str(folder), "--environment", "parameter_golf", "--name", "x")
    with pytest.raises(CommandError, match="environment 'golf' has no released layout"):
        call_command("import_trace", str(folder), "--environment", "golf", "--name", "x")
    good = published("cifar_airbench96", tmp_path)
    with pytest.raises(CommandError, match="name is '', expected 1 to 120 characters"):
        call_command("import_trace", str(good), "--environment", "cifar_airbench96", "--name", "")
    with pytest.raises(CommandError, match="line 1: no column val_bpb"):
        call_command("import_trace", str(good), "--environment", "parameter_golf", "--name", "x")
    assert Campaign.objects.count() == 0


def test_an_imported_run_is_closed(tmp_path: Path) -> None:
    folder = published("pg_damaged_sample", tmp_path)
    one, two = imported(folder), imported(folder)
    assert (one.slug, two.slug) == ("released", "released-2")
    for state in CampaignState:
        with pytest.raises(WrongState):
            change_state(one.pk, state, actor="test", reason="")
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE trials_trial SET label = 'keep' WHERE campaign_id = %s", [one.pk])


def test_higher_is_better_and_deep_chains(tmp_path: Path) -> None:
    rows = [row(0, 0.16), *(row(n, 0.1, parent_exp=f"exp_{n - 1:03d}") for n in range(1, 1200))]
    rows.append(row(1200, 0.2, "keep", parent_exp="exp_1199", delta_vs_best="+0.040000"))
    campaign = imported(write_run(tmp_path, rows, "nanochat_d12"), "nanochat_d12")
    assert (campaign.direction, campaign.start_score, campaign.best_score) == ("higher", 0.16, 0.2)
    assert campaign.best_trial is not None
    assert (campaign.best_trial.number, campaign.best_trial.depth) == (1200, 1200)
    assert campaign.improvement == pytest.approx(0.25)


def test_every_page_says_what_a_released_run_does_not_have(client: Client, tmp_path: Path) -> None:
    client.force_login(User.objects.create_user("viewer"))
    campaign = imported(published("cifar_airbench96", tmp_path), "cifar_airbench96")
    address = campaign.get_absolute_url()

    def text(path: str) -> str:
        answer = client.get(path)
        assert answer.status_code == 200, path
        return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())

    assert "recorded elsewhere" in text("/") and "scores read from the script's log" in text("/")
    page = text(address)
    assert "its files hold no seed, slots, limits or isolation" in page
    assert "In flight" not in page and "of 97" not in page
    trial = text(f"{address}trials/70/")
    for told in (
        "A released run holds the code of its keeps at most",
        "A released run has no record of an evaluator",
        "A released run has no logs",
        "does not tell which view its agent was shown",
        "scores read from the script's log",
    ):
        assert told in trial
    assert "Isolation" not in trial and "seed 0" not in trial
    assert "it keeps its released label and is counted apart" in text(f"{address}trials/38/")
    assert "This is the starting recipe" in text(f"{address}trials/0/")
    for name in ("frontier", "labels", "roles", "throughput"):
        chart = client.get(f"{address}charts/{name}.json").json()
        assert chart["figure"]["data"] and chart["table"]["rows"]
    assert sum(int(cells[1]) for cells in client.get(f"{address}charts/labels.json").json()["table"]["rows"]) == 97


def test_pages_lead_over_gaps_in_the_numbers(client: Client, tmp_path: Path) -> None:
    client.force_login(User.objects.create_user("viewer"))
    address = imported(published("pg_damaged_sample", tmp_path)).get_absolute_url()
    page = client.get(f"{address}trials/22/").content.decode()
    assert f'href="{address}trials/17/" rel="prev"' in page
    assert f'href="{address}trials/76/" rel="next" data-next>' in page
