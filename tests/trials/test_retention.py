"""Old logs give their bytes back: what goes, what never goes, and what everybody is told afterwards."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

import verify_bundle
from tests.bundles import tampering
from tests.bundles.records import exported, golf_campaign, session, small_record, try_one, verified
from tests.factories import record, start, submit
from trials.invariants import check_campaign
from trials.models import Blob, Campaign, Event, Trial
from trials.services import leases, retention
from trials.services.blobs import RemovedBlob, get_blob, get_text, put_blob, put_blobs
from trials.services.imports import import_bundle
from trials.vocab import EventKind

NOW = timedelta()
pytestmark = pytest.mark.django_db


def told(**options: Any) -> dict[str, Any]:
    out = StringIO()
    call_command("retention", json=True, stdout=out, **options)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def logs_of(campaign: Campaign) -> dict[int, str]:
    return dict(Trial.objects.of(campaign.pk).filter(log__isnull=False).values_list("number", "log_id"))


def test_logs_go_and_nothing_else(tmp_path: Path, admin_client: Client) -> None:
    campaign = small_record()
    other = golf_campaign(name="Other")
    try_one(other, 2.5, parent=None, log=b"y = 0\n")  # what b.py of every source says
    session(campaign, Trial.objects.get(campaign=campaign, number=2))
    try_one(other, 2.4, log=b"view of session 2")
    unfinished = start(submit(other))
    before = dict(Blob.objects.values_list("sha256", "size"))
    size_of = len(b"step 1 loss 5.0\n") + len(b"sealed log")
    dry = told(older_than=0.0, dry_run=True)
    assert (dry["logs"], dry["bytes"], dry["named_otherwise"]) == (2, size_of, 2)
    assert not Blob.objects.filter(removed_at__isnull=False).exists()
    assert told(older_than=1.0)["logs"] == 0
    done = told(older_than=0.0)
    assert {**done, "dry_run": True} == dry
    assert done["campaigns"] == [{"campaign": "golf", "logs": 2, "stored_bytes": done["stored_bytes"]}]
    gone = set(Blob.objects.filter(data=b"").values_list("sha256", flat=True))
    assert gone <= {*logs_of(campaign).values()} | set(
        campaign.measurements.filter(purpose="sealed").values_list("log_id", flat=True)
    )
    assert dict(Blob.objects.values_list("sha256", "size")) == before, "hashes and sizes stay"
    event = Event.objects.get(campaign=campaign, kind=EventKind.LOGS_REMOVED)
    assert set(event.payload["logs"]) == gone and event.payload["bytes"] == size_of
    assert event.payload["older_than_days"] == 0.0 and event.actor == "command"
    assert told(older_than=0.0)["logs"] == 0

    log = logs_of(campaign)[1]
    with pytest.raises(RemovedBlob, match=r"removed by retention at 20.* \(16 bytes\)"):
        get_blob(log)
    address = Trial.objects.get(campaign=campaign, number=1).get_absolute_url()
    page = admin_client.get(address).content.decode()
    assert "The log was removed by retention at" in page and log in page and f"{address}log" not in page
    answer = admin_client.get(f"{address}log.txt")
    assert answer.status_code == 410 and b"removed by retention" in answer.content
    for each in Campaign.objects.all():
        assert list(check_campaign(each)) == []
    unfinished.refresh_from_db()
    assert unfinished.state == "running"
    assert_bundle_tells(Campaign.objects.get(pk=campaign.pk), tmp_path, gone)


def assert_bundle_tells(campaign: Campaign, folder: Path, gone: set[str]) -> None:
    first = exported(campaign, folder)
    report = verified(first)
    assert (report["failures"], report["checked"]["logs absent by retention"]) == ([], len(gone))
    for sha256 in gone:  # the site that reads it has these bytes from elsewhere
        put_blob({16: b"step 1 loss 5.0\n", 10: b"sealed log"}[Blob.objects.get(pk=sha256).size])
    taken = import_bundle(first, actor="test")
    assert exported(taken.campaign, folder, "again.zip").read_bytes() == first.read_bytes()
    with pytest.raises(CommandError, match="its record is closed"):
        call_command("retention", older_than=0.0, campaign=taken.campaign.slug)
    assert told(older_than=0.0, campaign=campaign.slug)["logs"] == 0, "an imported record names them too"
    members = tampering.read(first)
    said = json.loads(members["redactions.json"])
    source = Trial.objects.get(campaign=campaign, number=1).tree_sha256
    one = sorted(gone)[0]
    for absent, what in (
        (said["absent"] | {source: {"size": 1, "at": said["absent"][one]["at"]}}, "source is said to be removed"),
        (said["absent"] | {"0" * 64: said["absent"][one]}, "no event says so"),
        ({name: row for name, row in said["absent"].items() if name != one}, "is missing or has other bytes"),
    ):
        edited = members | {"redactions.json": verify_bundle.dumps(said | {"absent": absent}).encode() + b"\n"}
        found = verify_bundle.verify(tampering.write(folder / "edited.zip", edited, sign=True))
        assert any(what in failure["what"] for failure in found["failures"]), (what, found["failures"])


def test_whoever_stores_the_same_bytes_again_brings_them_back(tmp_path: Path) -> None:
    campaign = golf_campaign()
    try_one(campaign, 2.5, parent=None, log=b"epoch 1\n")
    assert told(older_than=0.0)["logs"] == 1
    log = logs_of(campaign)[0]
    assert get_text(log).startswith("removed by retention at")
    try_one(campaign, 2.4, log=b"epoch 1\n")
    assert (get_text(log), Blob.objects.get(pk=log).removed_at) == ("epoch 1\n", None)
    assert told(older_than=0.0)["logs"] == 1
    assert put_blobs([b"epoch 1\n", b"new"])[0] == log and get_text(log) == "epoch 1\n"
    report = verified(exported(campaign, tmp_path))
    assert report["failures"] == [] and "logs absent by retention" not in report["checked"]


def test_the_oldest_go_until_the_others_fit() -> None:
    campaign = golf_campaign()
    for number in range(6):
        try_one(campaign, 2.5 - number / 10, parent=0 if number else None, log=bytes(range(100 + number)) * 3)
    every = retention.plan(most_bytes=0)
    assert len(every.logs) == 6 and every.held == every.stored
    done = told(most_bytes=every.held // 2)
    left = retention.plan(most_bytes=0)
    assert left.held <= every.held // 2 < left.held + max(log.stored for log in every.logs)
    assert done["held_stored_bytes"] == every.held == left.held + done["stored_bytes"]
    gone = set(Blob.objects.filter(data=b"").values_list("sha256", flat=True))
    numbers = [number for number, log in logs_of(campaign).items() if log in gone]
    assert numbers == list(range(len(numbers))) and numbers


REFUSED = (
    ("", "UPDATE trials_blob SET data = '' WHERE sha256 = %(log)s"),
    ("", "UPDATE trials_blob SET removed_at = now() WHERE sha256 = %(log)s"),
    ("on", "UPDATE trials_blob SET data = 'x', removed_at = now() WHERE sha256 = %(log)s"),
    ("on", "UPDATE trials_blob SET size = 0 WHERE sha256 = %(log)s"),
    ("on", "DELETE FROM trials_blob WHERE sha256 = %(log)s"),
    *(
        ("on", f"UPDATE trials_blob SET removed_at = now() WHERE sha256 = %({what})s; "
               f"UPDATE trials_blob SET data = '' WHERE sha256 = %({what})s")
        for what in ("source", "diff", "view", "transcript", "unjudged")
    ),
)  # fmt: skip


@pytest.mark.parametrize(("setting", "statement"), REFUSED)
def test_the_database_refuses_every_other_change_of_a_blob(setting: str, statement: str) -> None:
    campaign = golf_campaign()
    trial = try_one(campaign, 2.5, parent=None)
    child = try_one(campaign, 2.4, log=b"of the child")
    order = start(submit(campaign))
    assert leases.post_measurement(order.pk, order.attempt, record(2.0), b"not judged")
    names = {
        "log": trial.log_id, "source": trial.source_id, "diff": child.diff_id, "view": child.lineage_view_id,
        "transcript": session(campaign, child).lineage_view_id, "unjudged": put_blob(b"not judged"),
    }  # fmt: skip
    with pytest.raises(DatabaseError, match="refused"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('autoresearch.retention', %s, true)", [setting])
        cursor.execute(statement, names)
    assert get_text(trial.log_id) == "step 1 loss 5.0\n"


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_under_way_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = golf_campaign()
    try_one(campaign, 2.5, parent=None)
    log = logs_of(campaign)[0]
    make_plan = partial(retention.plan, older_than=NOW)
    with psycopg.connect(_address()) as held:
        held.execute("SELECT 1")
        with pytest.raises(retention.StillOpen, match="expected to be run again later"):
            retention.run(make_plan, actor="test", rule={}, within=0.3)
        assert get_text(log) == "step 1 loss 5.0\n", "marked, and there"
        held.rollback()
    marked = Blob.objects.get(pk=log).removed_at
    assert marked is not None
    try_one(campaign, 2.4)  # has the same log: it is no longer marked
    assert Blob.objects.get(pk=log).removed_at is None
    assert [each.sha256 for each in retention.run(make_plan, actor="test", rule={})] == [log]
    assert get_text(log).startswith("removed by retention at")


def _address() -> str:
    chosen = connection.get_connection_params()
    known = {name: chosen[name] for name in ("dbname", "user", "host", "port", "passfile") if chosen.get(name)}
    return psycopg.conninfo.make_conninfo(**known)


def test_bad_wishes_are_refused_with_one_line() -> None:
    for options, what in (
        ({}, "expected --older-than DAYS, --most-bytes N or both"),
        ({"older_than": -1.0}, "--older-than: -1 is out of range"),
        ({"most_bytes": -5}, "--most-bytes: -5 is out of range"),
        ({"older_than": 1.0, "campaign": "nobody"}, "campaign 'nobody' does not exist"),
    ):
        with pytest.raises(CommandError, match=what):
            call_command("retention", **options)
