"""What comes in: whole and honest bundles. Anything else is refused in one line, and leaves nothing."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

import verify_bundle
from tests.bundles import tampering
from tests.bundles.records import exported, small_record
from tests.bundles.tampering import Members, lines, replace
from trials.bundles.container import ZipWriter
from trials.models import Campaign, Event, FrontierStep, Measurement, Rollup, Trial
from trials.querysets import EvaluationQuerySet
from trials.services import campaigns
from trials.services.imports import Refused, import_bundle
from trials.services.keys import adopt_key
from trials.site_models import SiteEvent
from trials.vocab import CampaignState

pytestmark = pytest.mark.django_db


def row_counts() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in apps.get_models()}


def test_every_row_comes_back(tmp_path: Path) -> None:
    campaign = small_record()
    taken = import_bundle(exported(campaign, tmp_path), actor="test")
    copy = taken.campaign
    assert (taken.trials, taken.events, taken.twin) == (7, campaign.last_seq, "golf")
    for model, order, left_out in (
        (Trial, "number", {"id", "campaign_id", "parent_id"}),
        (Event, "seq", {"id", "campaign_id", "trial_id"}),
        (Measurement, "pk", {"id", "campaign_id", "trial_id", "evaluation_id"}),
        (FrontierStep, "pk", {"id", "campaign_id", "trial_id"}),
        (Rollup, "pk", {"id", "campaign_id"}),
    ):
        ours, theirs = (
            [{name: value for name, value in row.items() if name not in left_out} for row in rows]
            for rows in (model.objects.filter(campaign=one).order_by(order).values() for one in (campaign, copy))
        )
        if model is Measurement:  # theirs are in the order of their events
            ours, theirs = (sorted(rows, key=lambda row: (row["created_at"], row["sha256"])) for rows in (ours, theirs))
        assert ours == theirs, model
    assert copy.best_trial is not None and copy.best_trial.number == 5
    assert copy.bundle is not None and copy.bundle["slug"] == "golf"
    event = SiteEvent.objects.latest("seq")
    assert (event.kind, event.payload["campaign"], event.payload["head"]) == (
        "imported",
        "golf-2",
        campaign.head_sha256,
    )


def test_an_imported_search_does_not_run(tmp_path: Path) -> None:
    campaign = small_record()
    Campaign.objects.filter(pk=campaign.pk).update(state=CampaignState.RUNNING)
    copy = import_bundle(exported(small_record(), tmp_path), actor="test").campaign
    Campaign.objects.filter(pk=copy.pk).update(state=CampaignState.RUNNING)
    assert list(Campaign.objects.live()) == [campaign]
    with pytest.raises(campaigns.WrongState, match="was imported: its record is closed"):
        campaigns.change_state(copy.pk, CampaignState.STOPPED, actor="ada", reason="")
    assert isinstance(copy.evaluations.all(), EvaluationQuerySet)


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def link(path: Path) -> Path:
    info = zipfile.ZipInfo("campaign.json")
    info.external_attr = 0o120777 << 16
    return zipped(path, (info, b"/etc/passwd"))


def huge(path: Path) -> Path:
    """A directory that claims more bytes than the file has."""
    with path.open("w+b") as stream:
        writer = ZipWriter(stream)
        writer.add("events.jsonl", b"x")
        writer.close()
    data = path.read_bytes()
    entry = verify_bundle.directory_entry("events.jsonl", writer.members[0].crc, 1, 0)
    path.write_bytes(
        data.replace(entry, verify_bundle.directory_entry("events.jsonl", writer.members[0].crc, 1 << 50, 0))
    )
    return path


def bomb(path: Path) -> Path:
    return zipped(path, ("events.jsonl", b"\0" * (64 << 20)), method=zipfile.ZIP_DEFLATED)


def twice(path: Path) -> Path:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return zipped(path, ("events.jsonl", b"{}\n"), ("events.jsonl", b"[]\n"))


def many(path: Path) -> Path:
    return zipped(path, *((f"m{n}", b"") for n in range(verify_bundle.MOST_MEMBERS + 1)))


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no zip": (lambda path: (path.write_bytes(b"hello") and path) or path, "not a readable zip"),
    "climbing": (lambda path: zipped(path, ("../../etc/cron.d/x", b"")), "climbing path"),
    "absolute": (lambda path: zipped(path, ("/etc/passwd", b"")), "absolute or climbing path"),
    "odd name": (lambda path: zipped(path, ("a\\b", b"")), "a character other than"),
    "twice": (twice, "is there twice"),
    "link": (link, "does not stand in the container as it should"),
    "bomb": (bomb, "is compressed or encrypted"),
    "oversize": (huge, "does not stand in the container as it should"),
    "many": (many, "2001 members, expected 2000 at most"),
    "empty": (zipped, "the directory at the end is not that of these members"),
    "missing": (lambda path: path, "No such file"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_as_a_whole_in_one_line(what: str, tmp_path: Path) -> None:
    make, expected = HOSTILE[what]
    path, before = make(tmp_path / "hostile.zip"), row_counts()
    with pytest.raises(CommandError, match=expected) as refused:
        call_command("import_bundle", str(path))
    assert str(refused.value).startswith(str(path)) and len(str(refused.value).splitlines()) == 1
    assert row_counts() == before


def spoiled(members: Members, what: str) -> Members:
    rows = lines(members, "evaluations.jsonl")
    if what == "a column that is unknown":
        rows[0]["surprise"] = 1
    elif what == "a reference to nothing":
        rows[0]["trial"] = 99
    elif what == "a text that is too long":
        rows[0]["worker"] = "w" * 500
    elif what == "a date that is none":
        rows[0]["queued_at"] = "yesterday"
    elif what == "a table that is unknown":
        schema = json.loads(members["schema.json"])
        schema["tables"]["spies.jsonl"] = {"blobs": [], "trees": []}
        return members | {"schema.json": json.dumps(schema).encode(), "spies.jsonl": b""}
    return replace(members, "evaluations.jsonl", rows)


@pytest.mark.parametrize(
    "what",
    [
        "a column that is unknown",
        "a reference to nothing",
        "a text that is too long",
        "a date that is none",
        "a table that is unknown",
    ],
)
def test_rows_that_do_not_fit_are_refused_though_a_stranger_signed_them(what: str, tmp_path: Path) -> None:
    members = tampering.read(exported(small_record(), tmp_path))
    path, before = tampering.write(tmp_path / "spoiled.zip", spoiled(members, what), sign=True), row_counts()
    with pytest.raises(Refused) as refused:
        import_bundle(path, actor="test")
    assert str(refused.value).startswith(str(path))
    assert row_counts() == before


def test_a_bundle_that_does_not_verify_is_refused_and_the_trial_named(tmp_path: Path) -> None:
    members = tampering.read(exported(small_record(), tmp_path))
    rows = lines(members, "trials.jsonl")
    rows[3]["label"] = "keep"
    path = tampering.write(tmp_path / "edited.zip", replace(members, "trials.jsonl", rows), sign=True)
    with pytest.raises(Refused, match=r"edited\.zip: trials\.jsonl: trial 3: differs from its events in label"):
        import_bundle(path, actor="test")


def test_the_commands_print_one_document(tmp_path: Path) -> None:
    campaign, out = small_record(), io.StringIO()
    call_command("export_bundle", campaign.slug, "-o", str(tmp_path / "a.zip"), "--json", stdout=out)
    told: dict[str, Any] = json.loads(out.getvalue())
    assert (told["campaign"], told["seq"], told["head"]) == (campaign.slug, campaign.last_seq, campaign.head_sha256)
    assert told["bytes"] == (tmp_path / "a.zip").stat().st_size and told["key"] == adopt_key("test").public
    event = SiteEvent.objects.latest("seq")
    assert (event.kind, event.payload["campaign"], event.payload["redacted"]) == ("exported", campaign.slug, [])

    out = io.StringIO()
    call_command("import_bundle", str(tmp_path / "a.zip"), "--key", told["key"], "--json", stdout=out)
    taken = json.loads(out.getvalue())
    assert (taken["campaign"], taken["trials"], taken["signer"]) == ("golf-2", 7, told["key"])
    with pytest.raises(CommandError, match="signed by"):
        call_command("import_bundle", str(tmp_path / "a.zip"), "--key", "0" * 64)
    with pytest.raises(CommandError, match="campaign 'none' does not exist, expected one of: golf"):
        call_command("export_bundle", "none", "-o", str(tmp_path / "b.zip"))
    with pytest.raises(CommandError, match="expected a place to write to"):
        call_command("export_bundle", campaign.slug, "-o", str(tmp_path / "no" / "b.zip"))
    with pytest.raises(CommandError, match="'x' is unknown"):
        call_command("export_bundle", campaign.slug, "-o", str(tmp_path / "b.zip"), "--redact", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]
