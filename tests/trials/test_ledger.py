"""What the ledger proves by itself, and what notes outside the database add."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client

from tests.conftest import ROOT, free_port, process_environment
from tests.factories import make_campaign, run_trial, submit
from trials.chain import ACTOR, WITHHOLDABLE, chain_hash, commitments, field_salt
from trials.models import Campaign, Event
from trials.services import restores, witness
from trials.services.events import Imported, append_event, append_site_event, site_id
from trials.services.keys import adopt_key, key_on_record, rotate_key
from trials.site_models import SiteEvent
from trials.vocab import EventKind, SiteEventKind

AT = datetime(2026, 1, 2, 3, 4, 5, 600, UTC)


def hashed(body: str, **changes: Any) -> str:
    fields = {"seq": 7, "at": AT, "kind": "k", "actor": "ada", "trial": 3, "previous": "p", "salt": "s"}
    return chain_hash(body=body, **fields | changes)


def test_every_field_of_an_event_is_in_its_hash() -> None:
    body = '{"hypothesis":"warm up","score":1.5}'
    changes: list[dict[str, Any]] = [
        {"seq": 8},
        {"at": AT.replace(second=6)},
        {"kind": "l"},
        {"actor": "eve"},
        {"trial": None},
        {"previous": "q"},
        {"salt": "t"},
    ]
    found = {hashed(body), hashed(body.replace("1.5", "1.6")), hashed(body.replace("warm", "cool"))}
    assert len(found | {hashed(body, **change) for change in changes}) == 3 + len(changes)


def test_what_is_withheld_leaves_a_hash_that_keeps_the_chain() -> None:
    payload = {"hypothesis": "ask Ada", "reason": "", "score": 1.5}
    body = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    hashes = commitments("ada", payload, "s")
    assert set(hashes) == {ACTOR, "hypothesis", "reason"}
    redaction = {
        "withheld": {name: {"sha256": hashes[name], "reason": "names"} for name in (ACTOR, "hypothesis")},
        "salts": {"reason": field_salt("s", "reason")},
    }
    without = '{"reason":"","score":1.5}'
    assert hashed(without, actor="", salt="", redaction=redaction) == hashed(body)
    assert hashed(without.replace("1.5", "1.6"), actor="", salt="", redaction=redaction) != hashed(body)
    redaction["withheld"][ACTOR]["sha256"] = "0" * 64
    assert hashed(without, actor="", salt="", redaction=redaction) != hashed(body)


def test_equal_names_leave_unlike_hashes() -> None:
    assert commitments("ada", {}, "s")[ACTOR] != commitments("ada", {}, "t")[ACTOR]
    assert commitments("x", {"note": "x"}, "s")[ACTOR] != commitments("x", {"note": "x"}, "s")["note"]
    assert commitments("ada", {"note": "x"}, "") == {}


@pytest.mark.django_db
def test_sources_scores_and_measurements_are_bound_into_the_chain() -> None:
    campaign = make_campaign()
    start = run_trial(campaign, 2.0, parent=None)
    child = run_trial(campaign, 1.9)
    submitted = Event.objects.get(trial=child, kind=EventKind.TRIAL_SUBMITTED).payload
    finished = Event.objects.get(trial=child, kind=EventKind.TRIAL_FINISHED).payload
    launched = Event.objects.get(campaign=campaign, kind=EventKind.CAMPAIGN_LAUNCHED).payload
    assert (submitted["source"], submitted["parent_source"]) == (child.source_id, start.source_id)
    measured = child.measurements.get()
    assert finished["measurement"] == measured.sha256 == hashlib.sha256(measured.body.encode()).hexdigest()
    assert (finished["label"], finished["score"], finished["evaluator"]) == ("keep", 1.9, "1" * 64)
    assert launched["spec_sha256"] == campaign.spec_sha256
    for name in ("started_at", "measured_at", "finished_at"):
        assert finished[name] == getattr(child, name).isoformat()
    free_text = {"hypothesis", "proposal", "excerpt", "reason", "roles", "name"}
    assert free_text <= WITHHOLDABLE & {*submitted, *finished, *launched}


@pytest.mark.django_db
def test_an_imported_record_is_closed() -> None:
    campaign = make_campaign()
    Campaign.objects.filter(pk=campaign.pk).update(bundle={"slug": "theirs"})
    with pytest.raises(Imported), transaction.atomic():
        append_event(Campaign.objects.locked(campaign.pk), EventKind.SESSION_STARTED, "x", {})
    with pytest.raises(Imported):
        submit(campaign, parent=None)
    assert campaign not in Campaign.objects.live()


@pytest.mark.django_db
def test_the_site_has_a_chain_of_its_own() -> None:
    append_site_event(SiteEventKind.LOGGED_IN, "ada", {"superuser": True})
    append_site_event(SiteEventKind.LOGGED_IN, "bob", {"superuser": False})
    rows = list(SiteEvent.objects.order_by("seq"))
    assert [row.kind for row in rows] == ["founded", "logged_in", "logged_in"]
    previous = ""
    for seq, row in enumerate(rows, start=1):
        found = chain_hash(
            seq=seq,
            at=row.at,
            kind=row.kind,
            actor=row.actor,
            trial=None,
            body=row.body,
            previous=previous,
            salt=row.salt,
        )
        assert (row.seq, row.previous_sha256, row.sha256) == (seq, previous, found)
        previous = found


@pytest.mark.django_db
def test_log_ins_of_staff_are_on_record(client: Client, django_user_model: Any) -> None:
    django_user_model.objects.create_superuser("ada", password="long enough 1")
    django_user_model.objects.create_user("reader", password="long enough 2")
    for name, number in (("reader", 2), ("ada", 1)):
        assert client.post("/login/", {"username": name, "password": f"long enough {number}"}).status_code == 302
    found = SiteEvent.objects.filter(kind=SiteEventKind.LOGGED_IN)
    assert [(row.actor, row.payload) for row in found] == [("ada", {"superuser": True})]


@pytest.mark.django_db
def test_a_key_is_adopted_once_and_the_old_one_vouches_for_the_new() -> None:
    first = adopt_key("ada")
    assert adopt_key("ada").public == first.public == key_on_record()
    before, after = rotate_key("ada")
    assert before.public == first.public != after.public == adopt_key("bob").public == key_on_record()
    kinds = list(SiteEvent.objects.filter(kind__startswith="key").order_by("seq").values_list("kind", flat=True))
    assert kinds == ["key_adopted", "key_rotated"]
    payload = SiteEvent.objects.get(kind=SiteEventKind.KEY_ROTATED).payload
    statement = json.dumps({"from": before.public, "public": after.public}, sort_keys=True, separators=(",", ":"))
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(before.public))
    public.verify(bytes.fromhex(payload["signature"]), statement.encode())
    assert os.stat(settings.SIGNING_KEY_FILE).st_mode & 0o777 == 0o600


@pytest.mark.django_db(transaction=True)
def test_a_rotation_that_is_not_committed_leaves_the_key_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = adopt_key("ada").public

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr("trials.services.keys.os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            rotate_key("ada")
    assert adopt_key("ada").public == before == key_on_record()


def lose(campaign: Campaign, kept: int) -> None:
    """What restoring an older backup does, by the owner of the tables: events after ``kept`` are gone."""
    last = Event.objects.get(campaign=campaign, seq=kept).sha256 if kept else ""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE trials_event DISABLE TRIGGER trials_event_append_only")
        cursor.execute("DELETE FROM trials_event WHERE campaign_id = %s AND seq > %s", [campaign.pk, kept])
        cursor.execute("ALTER TABLE trials_event ENABLE ALWAYS TRIGGER trials_event_append_only")
    Campaign.objects.filter(pk=campaign.pk).update(last_seq=kept, head_sha256=last)


def start_everything(folder: Path) -> dict[str, str]:
    """What web server, worker and beat say when they are started without manage.py; each has to end by itself."""
    celery = ("celery", "-A", "autoresearch_site")
    commands = {
        "web": ("uvicorn", "autoresearch_site.asgi:application", "--port", str(free_port())),
        "worker": (*celery, "worker", "-n", "lost@test", "-Q", "lost", "-c", "1"),
        "beat": (*celery, "beat", "-s", str(folder / "beat"), "--pidfile="),
    }
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=process_environment(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for name, command in commands.items()
    }  # fmt: skip
    said = {}
    for name, process in started.items():
        said[name], _ = process.communicate(timeout=120)
        assert process.returncode == 1, (name, said[name])
    return said


@pytest.mark.django_db(transaction=True)
def test_a_restored_backup_that_lost_its_last_event_is_told_and_accepted_by_an_event(tmp_path: Path) -> None:
    campaign = make_campaign(name="Lost")
    submit(campaign, parent=None)
    restores.require_whole()
    lose(campaign, 1)

    started = subprocess.run(
        [sys.executable, "manage.py", "report", campaign.slug],
        cwd=ROOT, env=process_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert started.returncode == 1
    assert started.stderr.startswith("error: the record is older than what was committed: lost.")
    assert "events 2 to 2 are missing" in started.stderr and len(started.stderr.splitlines()) == 1
    for name, said in start_everything(tmp_path).items():
        assert "error: the record is older than what was committed: lost." in said, name

    call_command("accept_restore", actor="ada", verbosity=0)
    restores.require_whole()
    last = Event.objects.filter(campaign=campaign).latest("seq")
    assert (last.seq, last.kind, last.actor, last.payload["noted"]) == (2, "restore_accepted", "ada", 2)
    assert SiteEvent.objects.latest("seq").kind == SiteEventKind.RESTORE_ACCEPTED


@pytest.mark.django_db(transaction=True)
def test_a_campaign_that_is_gone_and_a_changed_event_are_losses() -> None:
    campaign = make_campaign(name="Changed")
    witness.note(site_id(), "gone.12", 40, "a" * 64)
    assert [str(loss) for loss in restores.losses()] == ["gone.12: events 1 to 40 are missing"]
    lose(campaign, 0)
    with transaction.atomic():
        append_event(Campaign.objects.locked(campaign.pk), EventKind.CAMPAIGN_LAUNCHED, "eve", {})
    told = [str(loss) for loss in restores.losses()]
    assert told == [f"{campaign.chain}: event 1 is not the one that was committed", told[1]]
    with pytest.raises(CommandError, match="and 1 more; restore a newer backup"):
        call_command("check_record")
    restores.accept("ada")
    assert restores.losses() == []


@pytest.mark.django_db(transaction=True)
def test_a_note_follows_commits_and_is_never_ahead_of_one() -> None:
    campaign = make_campaign(name="Followed")

    def seen() -> int:
        return next(note.seq for note in witness.noted(site_id()) if note.chain == campaign.chain)

    assert seen() == 1
    with pytest.raises(RuntimeError), transaction.atomic():
        append_event(Campaign.objects.locked(campaign.pk), EventKind.SESSION_STARTED, "x", {})
        raise RuntimeError
    assert seen() == 1
    submit(campaign, parent=None)
    assert seen() == 2
    witness.note(site_id(), campaign.chain, 1, "0" * 64)
    assert seen() == 2
    (witness.folder(site_id()) / campaign.chain).write_bytes(b"")  # a crash of the host
    assert campaign.chain not in [note.chain for note in witness.noted(site_id())]


def test_a_note_is_readable_by_its_owner_alone(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    witness.note("f" * 64, "one.1", 3, "a" * 64)
    path = witness.folder("f" * 64) / "one.1"
    assert path.read_text() == f"{3:012d} {'a' * 64}\n"
    assert path.stat().st_mode & 0o777 == 0o600
