"""What is left out leaves a hash and a reason, is in no byte of the file, and the rest still proves itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import verify_bundle
from tests.bundles import tampering
from tests.bundles.records import exported, golf_campaign, small_record, try_one, verified
from tests.bundles.tampering import lines
from trials.bundles.export import ExportError
from trials.bundles.redaction import PROFILES, known_profiles
from trials.models import Campaign, Event
from trials.services.imports import import_bundle
from trials.services.keys import rotate_key

pytestmark = pytest.mark.django_db

KEY = "sk-" + "Abc123" * 6
#: What must not be in a bundle that leaves it out.
TOLD = {
    "names": [b"lovelace", b"host:1"],
    "prompts": [b"view of session 1", b"best: trial 1", b"said Ada", b"Blocks."],
    "sources": [b"x = 3\n", b"+x = 3", b"step 1 loss 5.0", b"sealed log"],
}


@pytest.mark.parametrize("profiles", [["names"], ["prompts"], ["sources"], list(PROFILES)])
def test_a_profile_leaves_out_what_it_says_and_nothing_else(profiles: list[str], tmp_path: Path) -> None:
    campaign = small_record()
    path = exported(campaign, tmp_path, profiles=profiles)
    data, report = path.read_bytes(), verified(path)
    assert (report["failures"], report["redacted"]) == ([], profiles)
    for name, texts in TOLD.items():
        for text in texts:
            assert (text in data) == (name not in profiles), (name, text)

    taken = import_bundle(path, actor="test")
    assert exported(taken.campaign, tmp_path, "again.zip").read_bytes() == data
    narrower = exported(taken.campaign, tmp_path, "all.zip", profiles=list(PROFILES))
    assert verified(narrower)["failures"] == []
    assert narrower.read_bytes() == exported(campaign, tmp_path, "direct.zip", profiles=list(PROFILES)).read_bytes()


def test_what_is_withheld_leaves_a_hash_and_a_reason(tmp_path: Path) -> None:
    campaign = small_record()
    members = tampering.read(exported(campaign, tmp_path, profiles=["names"]))
    last = lines(members, "events.jsonl")[-1]
    assert last["actor"] == "" and "reason" not in last["body"] and "salt" not in last
    assert {name: one["reason"] for name, one in last["withheld"].items()} == {"@actor": "names", "reason": "names"}
    assert json.loads(members["redactions.json"])["profiles"] == ["names"]
    last["withheld"]["@actor"]["sha256"] = "0" * 64
    forged = tampering.replace(members, "events.jsonl", [*lines(members, "events.jsonl")[:-1], last])
    report = verify_bundle.verify(tampering.write(tmp_path / "forged.zip", forged, sign=False))
    assert any("does not have its hash" in one["what"] for one in report["failures"])


def test_another_site_may_redact_and_the_head_stays_the_first_one_s(tmp_path: Path) -> None:
    path = exported(small_record(), tmp_path)
    theirs = verified(path)["key"]
    taken = import_bundle(path, actor="test")
    _, mine = rotate_key("test")  # as good as another site's
    redacted = exported(taken.campaign, tmp_path, "redacted.zip", profiles=["sources"])
    report = verify_bundle.verify(redacted, [theirs, mine.public])
    assert (report["failures"], report["key"], report["packed_by"]) == ([], theirs, mine.public)
    assert verify_bundle.verify(redacted)["ok"]
    told = verify_bundle.verify(redacted, [theirs])["failures"]
    assert [one["what"] for one in told] == [f"the manifest is signed by {mine.public}, expected {theirs}"]


def test_secrets_are_left_out_always(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROVIDER_TOKEN", "correct-horse-battery")
    campaign = golf_campaign()
    try_one(campaign, 2.5, parent=None)
    leaky = {"a.py": f"key = '{KEY}'\n".encode(), "b.py": b"y = 1\n", "recipe.py": b"import a, b\n"}
    try_one(campaign, 2.4, hypothesis=f"use {KEY}", proposal={"notes": {"token": KEY}}, files=leaky)
    try_one(campaign, 2.3, parent=1, log=b"said correct-horse-battery\n", lineage_view=f"{KEY} was seen")
    path = exported(campaign, tmp_path)
    data, members = path.read_bytes(), tampering.read(path)
    assert KEY.encode() not in data and b"correct-horse-battery" not in data
    assert verified(path)["failures"] == []
    rows = lines(members, "trials.jsonl")
    assert (rows[1]["hypothesis"], rows[1]["proposal"]) == ("", {})
    assert (rows[2]["log"], rows[2]["lineage_view"]) == (None, None)
    assert set(json.loads(members["redactions.json"])["blobs"].values()) == {"secret"}
    taken = import_bundle(path, actor="test")
    assert exported(taken.campaign, tmp_path, "again.zip").read_bytes() == data


def test_a_secret_that_cannot_be_left_out_stops_the_export(tmp_path: Path) -> None:
    campaign = golf_campaign()
    try_one(campaign, 2.5, parent=None)
    try_one(campaign, None, status="crash", measured={"excerpt": f"KeyError: {KEY}", "reason": "KeyError"})
    with pytest.raises(ExportError, match="campaign golf: trial 1: a measurement holds what looks like a secret"):
        exported(campaign, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_profiles_are_named_or_refused() -> None:
    assert known_profiles("sources, names") == ["names", "sources"] and known_profiles("") == []
    with pytest.raises(ValueError, match="'faces' is unknown, expected one or more of names, prompts, sources"):
        known_profiles("faces")


def test_events_of_a_version_that_could_withhold_nothing_are_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("trials.services.events.secrets.token_hex", lambda size: "")
    campaign = golf_campaign()
    assert Event.objects.get(campaign=campaign).salt == "" and isinstance(campaign, Campaign)
    with pytest.raises(ExportError, match="event 1 has no salt"):
        exported(campaign, tmp_path)
