"""What a bundle shows to people and to tools that know nothing of this project."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evaluators.registry import get_environment
from specialists.launch import frozen_spec
from tests.bundles import tampering
from tests.bundles.records import exported, golf_campaign, small_record, try_one
from trials.bundles import layout
from trials.bundles.tables import tables
from trials.services.imports import import_bundle

pytestmark = pytest.mark.django_db


def test_the_crate_describes_every_member_and_the_licences(tmp_path: Path, settings: Any) -> None:
    settings.TRACE_LICENCE = "CC-BY-4.0"
    spec = frozen_spec(get_environment("parameter_golf").spec, "smoke")
    members = tampering.read(exported(small_record(spec=spec), tmp_path))
    crate = json.loads(members["ro-crate-metadata.json"])
    entities = {item["@id"]: item for item in crate["@graph"]}
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.2/context"
    assert entities["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    root = entities["./"]
    assert root["@type"] == "Dataset" and root["name"] and root["description"] and root["datePublished"]
    assert entities[root["license"]["@id"]]["name"] == "CC-BY-4.0"
    assert "FineWeb, ODC-By 1.0" in entities["#licence-data"]["name"]
    parts = [part["@id"] for part in root["hasPart"]]
    after = {"ro-crate-metadata.json", "manifest-sha256.txt", "head.json"}
    assert parts == [name for name in members if name not in after]
    for name in parts:
        assert entities[name]["sha256"] == hashlib.sha256(members[name]).hexdigest()
        assert entities[name]["contentSize"] == str(len(members[name])) and entities[name]["description"]
    named = {value["@id"] for item in entities.values() for value in item.values() if isinstance(value, dict)}
    assert named - {"https://w3id.org/ro/crate/1.2"} <= set(entities)


def test_the_released_layout_reads_like_a_released_run(tmp_path: Path) -> None:
    members = tampering.read(exported(small_record(), tmp_path))
    rows = list(csv.DictReader(io.StringIO(members["results.tsv"].decode()), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["exp_id"] for row in rows] == ["000", "001", "002", "003", "004", "005"]
    assert [row["status"] for row in rows] == ["baseline", "keep", "discard", "crash", "size_blocked", "keep"]
    assert [row["baseline_exp"] for row in rows] == ["", "000", "001", "001", "001", "001"]
    assert (rows[2]["delta_vs_best"], rows[2]["val_bpb"], rows[4]["val_bpb"]) == ("+0.050000", "2.45", "")
    assert rows[5]["hypothesis"] == "Tabs and lines, <b>é</b> | ✓" and rows[5]["parent_exp"] == "002"
    assert rows[3]["notes"] == "x | ValueError: x recipe.py:3"
    best = json.loads(members["best.json"])
    assert (best["exp_id"], best["val_bpb"], best["snapshot_path"]) == ("005", 2.2, "snapshots/005_optimization")
    assert members["snapshots/005_optimization/a.py"] == b"x = 5\n"
    tree = [line.split("\t") for line in members["tree.tsv"].decode().splitlines()[1:]]
    assert [(row[0], row[3]) for row in tree[:4]] == [
        ("000", "000"),
        ("001", "000/001"),
        ("002", "000/001/002"),
        ("005", "000/001/002/005"),
    ]
    assert len(tree) == 7
    assert "| 005 | 2.200000 | -0.200000 | optimization |" in members["LEADERBOARD.md"].decode()
    assert "exp_005 [optimization, keep, 2.200000]" in members["KNOWLEDGE.md"].decode()


class Reader(HTMLParser):
    """Tags of a page, and everything that a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.reaches: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.reaches += [name for name, _ in attrs if name in ("src", "href", "action") or name.startswith("on")]


def test_the_report_needs_no_server_and_runs_nothing(tmp_path: Path) -> None:
    campaign = golf_campaign(name="<script>alert(1)</script>")
    try_one(campaign, 2.5, parent=None)
    try_one(campaign, 2.4, hypothesis="<img src=x onerror=alert(1)>")
    page = tampering.read(exported(campaign, tmp_path))["report.html"].decode()
    reader = Reader()
    reader.feed(page)
    assert reader.reaches == [] and not {"script", "img", "iframe", "link"} & set(reader.tags)
    assert "&lt;img src=x onerror=alert(1)&gt;" in page and "polyline" in reader.tags
    assert "2.4" in page and campaign.slug not in page.replace("script-alert", "")


def test_every_table_of_the_record_is_found_and_described(tmp_path: Path) -> None:
    found = {table.member: table.blobs for table in tables()}
    assert set(found) >= {"trials.jsonl", "evaluations.jsonl", "measurements.jsonl", "sessions.jsonl", "frontier.jsonl"}
    assert set(found["trials.jsonl"]) == {"source", "diff", "lineage_view", "log"}
    members = tampering.read(exported(small_record(), tmp_path))
    assert set(found) == set(json.loads(members["schema.json"])["tables"]) <= set(members)
    assert len(tampering.lines(members, "sessions.jsonl")) == 1


def test_snapshots_stay_within_their_share_of_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_SNAPSHOT_FILES", 4)
    campaign = small_record()
    path = exported(campaign, tmp_path)
    kept = {name.split("/")[1] for name in tampering.read(path) if name.startswith("snapshots/")}
    assert kept == {"005_optimization"}
    taken = import_bundle(path, actor="test")
    assert exported(taken.campaign, tmp_path, "again.zip").read_bytes() == path.read_bytes()
