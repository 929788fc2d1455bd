"""Every figure of the report against a count of its own: over the rows of results.tsv, or over the trials."""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from tests.factories import make_campaign, run_trial
from tests.trials.traces.runs import DATA, row, write_run
from trials import tasks
from trials.models import Campaign, CampaignReport, Trial
from trials.report import build_report
from trials.services import reports, submissions, traces
from trials.services.blobs import put_blobs
from trials.services.reports import current_report
from trials.traces.folder import read_trace
from trials.traces.layouts import layout_of

pytestmark = pytest.mark.django_db

RUNS = {"cifar_airbench96": ("cifar_airbench96", "train_s"), "pg_lineage_on": ("parameter_golf", "val_bpb")}


def imported(folder: Path, environment: str) -> Campaign:
    return traces.import_trace(read_trace(folder, layout_of(environment)), folder.name)


def printed(slug: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    call_command("report", slug, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", RUNS)
def test_figures_of_a_published_run_are_counted_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    environment, score = RUNS[name]
    with (DATA / name / "results.tsv").open(newline="") as stream:
        start, *rows = csv.DictReader(stream, delimiter="\t")
    found = printed(imported(DATA / name, environment).slug, capsys)
    roles = {released["exp_id"]: released["specialist"] for released in [start, *rows]}
    times = [datetime.fromisoformat(released["timestamp"]) for released in rows]
    hours = (times[-1] - times[0]).total_seconds() / 3600
    keeps = [released for released in rows if released["status"] == "keep"]
    best = min(float(released[score]) for released in keeps)
    seconds = [float(released["total_s"] or 0) * float(released.get("n_seeds") or 1) for released in rows]
    broken = [released for released in rows if "sync failure" in released["notes"]]
    followed = [released for released in keeps if int(released["parent_exp"]) > 0]

    assert (found["trials"], found["keeps"], found["score_source"]) == (len(rows), len(keeps), "log")
    assert found["labels"] == dict(Counter(released["status"] for released in rows))
    assert found["label_rates"] == {label: count / len(rows) for label, count in found["labels"].items()}
    assert (found["start"], found["best"]) == (float(start[score]), best)
    assert found["relative_change_pct"] == pytest.approx(100 * (best - float(start[score])) / float(start[score]))
    assert found["frontier"] == [
        {"trial": int(kept["exp_id"]), "score": float(kept[score]), "role": kept["specialist"]} for kept in keeps
    ]
    assert found["trials_per_hour"] == pytest.approx(len(rows) / hours)
    assert found["cross_role_keep_parent"] == {
        "n": sum(kept["specialist"] != roles[kept["parent_exp"]] for kept in followed), "of": len(followed),
    }  # fmt: skip
    assert sum(found["machine_hours"].values()) == pytest.approx(sum(seconds) / 3600)
    for label in found["labels"]:
        mine = sum(value for value, released in zip(seconds, rows, strict=True) if released["status"] == label)
        assert found["machine_hours_by_label"][label] == pytest.approx(mine / 3600)
    assert found["parallel_efficiency"] == pytest.approx(
        found["trials_per_hour"] * statistics.mean(seconds) / 3600 / len(set(roles.values()) - {"baseline"})
    )
    assert found["infrastructure_failures"] == len(broken)
    assert found["infrastructure"]["with"]["trials"] == len(rows)
    assert found["infrastructure"]["without"]["trials"] == len(rows) - len(broken)
    for role, counted in found["roles"].items():
        mine_rows = [released for released in rows if released["specialist"] == role]
        labels = Counter(released["status"] for released in mine_rows)
        assert (counted["trials"], counted["keeps"], counted["labels"]) == (
            len(mine_rows),
            labels["keep"],
            dict(labels),
        )
        assert counted["infrastructure"] == sum(released in broken for released in mine_rows)
        assert (counted["improves"], counted["valid"]) == (labels["keep"], labels["discard"])
        assert (
            counted["not_compliant"] == len(mine_rows) - labels["keep"] - labels["discard"] - counted["infrastructure"]
        )


def test_the_numbers_that_the_paper_gives(capsys: pytest.CaptureFixture[str]) -> None:
    cifar = printed(imported(DATA / "cifar_airbench96", "cifar_airbench96").slug, capsys)
    assert cifar["labels"] == {"keep": 4, "discard": 5, "disqualified": 81, "preflight_crash": 7}
    assert (cifar["start"], cifar["best"], cifar["infrastructure_failures"]) == (26.3560, 25.1464, 2)
    assert (f"{cifar['relative_change_pct']:.4f}", f"{cifar['trials_per_hour']:.2f}") == ("-4.5895", "17.56")
    assert {"failures": [60], "mended_by": 70, "label": "keep", "by": "named"} in cifar["repairs"]["chains"]
    golf = printed(imported(DATA / "pg_lineage_on", "parameter_golf").slug, capsys)
    assert golf["labels"] == {
        "keep": 16, "discard": 124, "eval_budget_overrun": 38, "size_blocked": 11, "crash": 11,
    }  # fmt: skip
    assert (golf["start"], golf["best"], golf["label_rates"]["eval_budget_overrun"]) == (1.0810, 1.073142, 0.19)
    assert (f"{golf['trials_per_hour']:.2f}", golf["cross_role_keep_parent"]) == ("18.15", {"n": 10, "of": 12})
    assert f"{golf['diversity']['effective_clusters']:.1f}" == "120.9"


def test_released_failures_of_the_infrastructure_count_as_trials_but_are_told_apart(tmp_path: Path) -> None:
    rows = [
        row(0, 0.16),
        row(1, 0.2, "keep"),
        row(2, "", "harness_abort", specialist="opt"),
        row(3, "", "preflight_crash", notes="infrastructure sync failure: timed out", hypothesis="again"),
        row(4, "", "preflight_crash", notes="syntax: line 3"),
        row(5, 0.1, "discard", notes="sync failure is only a word here"),
    ]
    found = current_report(imported(write_run(tmp_path / "run", rows, "nanochat_d12"), "nanochat_d12"))
    assert (found["trials"], found["infrastructure_failures"]) == (5, 2)
    assert found["labels"] == {"keep": 1, "harness_abort": 1, "preflight_crash": 2, "discard": 1}
    assert found["roles"]["opt"] == {
        "trials": 1, "keeps": 0, "labels": {"harness_abort": 1},
        "improves": 0, "valid": 0, "not_compliant": 0, "infrastructure": 1,
    }  # fmt: skip
    without = found["infrastructure"]["without"]
    assert (without["trials"], without["labels"]) == (3, {"keep": 1, "preflight_crash": 1, "discard": 1})
    assert without["trials_per_hour"] == pytest.approx(3 / 4)
    assert found["relative_change_pct"] == pytest.approx(25.0)


@pytest.fixture
def campaign() -> Campaign:
    """A baseline, a miss and its repair, a knob, a program edit, a crash, an infrastructure failure."""
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None, files=tree("x = 0", "y = 0"))
    run_trial(campaign, None, "size_blocked", hypothesis="Wider blocks.", files=tree("x = 1", "y = 0"))
    run_trial(campaign, 2.3, parent=1, role="optimization", hypothesis="Narrower again.", files=tree("x = 1", "y = 2"))
    run_trial(campaign, 2.2, parent=2, role="architecture", files=tree("x = 1\nz = x", "y = 2"))
    run_trial(campaign, None, "crash", parent=3, role="optimization", files=tree("x = 1\nz = x", "y = 2  # why"))
    run_trial(campaign, None, "harness_abort", role="optimization", files=tree("x = 9", "y = 9"))
    repairing = {"notes": {"repairs": 1}}
    run_trial(campaign, 2.25, role="optimization", proposal=repairing, files=tree("x = 3", "y = 3"))
    campaign.refresh_from_db()
    return campaign


def tree(one: str, two: str) -> dict[str, bytes]:
    return {"a.py": one.encode(), "b.py": two.encode(), "recipe.py": b"import a, b\n"}


def test_figures_of_a_search_of_ones_own(campaign: Campaign) -> None:
    found = current_report(campaign)
    trials = list(Trial.objects.of(campaign.pk).filter(number__gt=0))
    ideas = [trial for trial in trials if trial.label != "harness_abort"]
    assert (found["trials"], found["keeps"], found["score_source"]) == (len(ideas), 2, "evaluator")
    assert found["labels"] == dict(Counter(trial.label for trial in trials))
    assert sum(found["label_rates"].values()) == pytest.approx(1.0)
    assert "harness_abort" not in found["label_rates"]
    assert found["infrastructure_failures"] == 1
    assert (found["infrastructure"]["with"]["trials"], found["infrastructure"]["without"]["trials"]) == (6, 5)
    assert sum(role["trials"] for role in found["roles"].values()) == len(ideas)
    assert found["diversity"]["proposals"] == len(ideas)
    assert found["cross_role_keep_parent"] == {"n": 2, "of": 2}
    times = [trial.finished_at for trial in ideas if trial.finished_at is not None]
    hours = (max(times) - times[0]).total_seconds() / 3600
    assert found["trials_per_hour"] == pytest.approx(len(ideas) / hours)
    busy = [(t.run_seconds or 0) + (t.eval_seconds or 0) + (t.log_seconds or 0) for t in ideas]
    assert found["parallel_efficiency"] == pytest.approx(len(ideas) / hours * statistics.mean(busy) / 3600 / 2)
    assert found["machine_hours"] == {
        "cpu": pytest.approx(sum((t.run_seconds or 0) + (t.eval_seconds or 0) for t in trials) / 3600)
    }
    assert found["repairs"] == {
        "boundary_failures": 1, "mended": 1, "by_keeps": 1, "count": 2,
        "chains": [
            {"failures": [1], "mended_by": 2, "label": "keep", "by": "parent"},
            {"failures": [1], "mended_by": 6, "label": "discard", "by": "repairs"},
        ],
    }  # fmt: skip
    assert found["edits"] == {
        "compared": 6, "same": 1, "knob": 4, "program": 1, "knob_share": 4 / 6, "program_share": 1 / 6,
    }  # fmt: skip
    assert math.isfinite(found["diversity"]["effective_clusters"])


def test_edits_that_were_compared_before_are_not_compared_again(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_report(campaign)
    assert first.edit_kinds == " kkpskk"
    run_trial(campaign, None, "crash", files=tree("q = 1", "y = 0"))
    campaign.refresh_from_db()
    assert build_report(campaign, first.edit_kinds).edit_kinds == " kkpskkp"
    monkeypatch.setattr("trials.report._kind", lambda before, after: pytest.fail("compared again"))
    assert build_report(campaign, " kkpskkp").edit_kinds == " kkpskkp"


def test_sources_that_were_withheld_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    monkeypatch.setattr(submissions, "put_changed", lambda files, parent, texts: put_blobs(texts))  # no files
    run_trial(campaign, 2.3, files=tree("kept = 'elsewhere'", "y = 0"))
    monkeypatch.setattr(submissions, "put_changed", lambda files, parent, texts: put_blobs([b"", *texts[1:]]))
    run_trial(campaign, 2.2)
    campaign.refresh_from_db()
    assert current_report(campaign)["edits"]["compared"] == 0
    assert build_report(campaign).edit_kinds == " --"


def test_a_report_is_computed_once_per_event(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(reports, "build_report", lambda *arguments: built.append(1) or build_report(*arguments))
    first, again = current_report(campaign), current_report(campaign)
    assert (len(built), json.loads(json.dumps(first)) == again, again["at_event"]) == (1, True, campaign.last_seq)
    run_trial(campaign, 2.1)
    campaign.refresh_from_db()
    assert current_report(campaign)["keeps"] == 3
    assert len(built) == 2
    monkeypatch.setattr(reports, "VERSION", 99)
    current_report(campaign)
    assert len(built) == 3


def test_a_campaign_without_trials_has_a_report_without_figures() -> None:
    found = current_report(make_campaign())
    assert (found["trials"], found["start"], found["best"], found["trials_per_hour"]) == (0, None, None, None)
    assert (found["labels"], found["roles"], found["frontier"]) == ({}, {}, [])
    assert found["diversity"]["effective_clusters"] is None


def test_the_page_asks_a_worker_and_shows_what_it_found(
    client: Client, campaign: Campaign, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(tasks.compute_report, "delay", asked.append)
    client.force_login(User.objects.create_user("viewer"))
    address = f"/campaigns/{campaign.slug}/report/"
    assert "No report has been computed yet" in client.get(address).content.decode()
    assert client.get(f"/campaigns/{campaign.slug}/report.json").status_code == 404
    with django_capture_on_commit_callbacks(execute=True):
        assert client.post(address).status_code == 302
        assert client.post(address, headers={"HX-Request": "true"}).status_code == 200
    assert asked == [campaign.pk]
    waiting = client.get(address).content.decode()
    assert "Being computed" in waiting and 'hx-trigger="every 2s"' in waiting
    tasks.compute_report(campaign.pk)
    shown = " ".join(re.sub(r"<[^>]+>", " ", client.get(address).content.decode()).split())
    for told in ("Trials 5", "Keeps 2", "2 of 2 with a parent", "Infrastructure failures 1", "knobs alone 4 66.7 %"):
        assert told in shown, told
    assert "Being computed" not in shown and "Compute again" not in shown
    assert client.get(f"/campaigns/{campaign.slug}/report.json").json() == CampaignReport.objects.get().report
    run_trial(campaign, None, "crash")
    assert "Compute again" in client.get(address).content.decode()


def test_the_page_costs_the_same_whatever_the_campaign_holds(
    client: Client, campaign: Campaign, django_assert_max_num_queries: Any
) -> None:
    current_report(campaign)
    client.force_login(User.objects.create_user("viewer"))
    with django_assert_max_num_queries(8):
        assert client.get(f"/campaigns/{campaign.slug}/report/").status_code == 200


def test_files_of_a_released_run_are_downloads(client: Client) -> None:
    campaign = imported(DATA / "pg_lineage_on", "parameter_golf")
    current_report(campaign)
    client.force_login(User.objects.create_user("viewer"))
    page = client.get(f"/campaigns/{campaign.slug}/report/").content.decode()
    for name in ("KNOWLEDGE.md", "example_lineage.txt", "results.tsv"):
        address = f"/campaigns/{campaign.slug}/files/{name}"
        assert f'href="{address}"' in page
        answer = client.get(address)
        assert answer.content == (DATA / "pg_lineage_on" / name).read_bytes()
        assert (answer["Content-Disposition"], answer["Content-Type"]) == ("attachment", "application/octet-stream")
    assert client.get(f"/campaigns/{campaign.slug}/files/nothing").status_code == 404
    assert "The files of this run hold no two sources" in page


def test_the_report_is_for_those_who_may_see_the_campaign(client: Client, campaign: Campaign) -> None:
    for address in ("report/", "report.json", "files/results.tsv"):
        assert client.get(f"/campaigns/{campaign.slug}/{address}").status_code in (302, 403)
