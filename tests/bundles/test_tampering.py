"""Whoever changes a bundle is found, and the trial is named."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import verify_bundle
from tests.bundles import tampering
from tests.bundles.records import exported, golf_campaign, small_record, try_one, verified
from tests.bundles.tampering import Line, Members, chained, lines, replace
from trials.services.keys import adopt_key

FLIPS, EDITS = 200, 150


@pytest.fixture(scope="module")
def bundle(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One honest bundle for all of these tests; its campaign is forgotten again."""
    with django_db_blocker.unblock():
        from django.db import transaction  # noqa: PLC0415 - after set-up

        with transaction.atomic():
            path = exported(small_record(), tmp_path_factory.mktemp("honest"))
            path.with_suffix(".key").write_text(adopt_key("test").public)
            transaction.set_rollback(True)
    return path


@pytest.fixture(scope="module")
def key(bundle: Path) -> str:
    return bundle.with_suffix(".key").read_text()


@pytest.fixture(scope="module")
def members(bundle: Path) -> Members:
    return tampering.read(bundle)


def test_any_flipped_bit_is_found(bundle: Path, key: str, tmp_path: Path) -> None:
    data, draw, path = bundle.read_bytes(), random.Random(1), tmp_path / "flipped.zip"
    assert verify_bundle.verify(bundle, [key])["ok"]
    missed = []
    for number in range(FLIPS):
        path.write_bytes(tampering.flip(draw, data))
        try:
            if verify_bundle.verify(path, [key])["ok"]:
                missed.append(number)
        except verify_bundle.BadBundle:
            pass
    assert missed == []


def test_cut_and_lengthened_files_are_found(bundle: Path, key: str, tmp_path: Path) -> None:
    data, path = bundle.read_bytes(), tmp_path / "cut.zip"
    for changed in (data[:-1], data[1:], data + b"x", b"x" + data, data[: len(data) // 2], b"", data + data):
        path.write_bytes(changed)
        try:
            ok = verify_bundle.verify(path, [key])["ok"]
        except verify_bundle.BadBundle:
            ok = False
        assert not ok, len(changed)


def test_any_changed_event_is_found_though_container_and_manifest_fit(
    key: str, members: Members, tmp_path: Path
) -> None:
    events, draw = lines(members, "events.jsonl"), random.Random(2)
    for number in range(EDITS):
        change = tampering.EVENTS[number % len(tampering.EVENTS)]
        changed = replace(members, "events.jsonl", change(draw, events))
        report = verify_bundle.verify(tampering.write(tmp_path / "edited.zip", changed, sign=False), [key])
        assert not report["ok"], (number, change.__name__)
        assert any(failure["member"] == "events.jsonl" for failure in report["failures"]), (number, change.__name__)


@pytest.mark.parametrize("kind", tampering.TAMPERS)
def test_whoever_lacks_the_key_is_found(kind: str, key: str, members: Members, tmp_path: Path) -> None:
    """Hashes, chain, index and manifest are made to fit. ``benchmarks.tamper`` does a thousand of them."""
    draw, path = random.Random(kind), tmp_path / "tampered.zip"
    for _ in range(3):
        changed, trial = tampering.TAMPERS[kind](draw, members)
        pinned = tampering.is_found(tampering.write(path, changed, sign=False), [key])
        assert pinned is not None
        if kind in tampering.FOLLOW:  # even when somebody signs anew, and nobody asks who
            found = tampering.is_found(tampering.write(path, changed, sign=True), [])
            assert found is not None
            if "event" not in kind:
                assert trial is None or trial in {failure["trial"] for failure in found["failures"]}


def test_any_byte_more_or_less_in_the_file_is_found(bundle: Path, key: str, tmp_path: Path) -> None:
    data, draw, path = bundle.read_bytes(), random.Random(12), tmp_path / "raw.zip"
    for number in range(40):
        path.write_bytes(tampering.raw(draw, data))
        assert path.read_bytes() == data or tampering.is_found(path, [key]) is not None, number


def changed_trial(members: Members, number: int, **values: Any) -> Members:
    rows = lines(members, "trials.jsonl")
    rows[number] |= values
    return replace(members, "trials.jsonl", rows)


def changed_event(members: Members, number: int, kind: str, **values: Any) -> Members:
    """An event's payload is another, and the whole chain after it is made to fit."""
    events = lines(members, "events.jsonl")
    for event in events:
        if event["kind"] == kind and event["trial"] == number:
            event["body"] |= values
    return replace(members, "events.jsonl", chained(events))


def told(path: Path, members: Members) -> tuple[list[Line], set[int]]:
    """Failures, and trials that are named, of a bundle that a stranger has packed and signed anew."""
    report = verify_bundle.verify(tampering.write(path, members, sign=True))
    assert not report["ok"]
    return report["failures"], {one["trial"] for one in report["failures"] if one["trial"] is not None}


EDITED: dict[str, Any] = {
    "a score in the table": lambda m: changed_trial(m, 3, score=1.0),
    "a label in the table": lambda m: changed_trial(m, 3, label="keep"),
    "a hypothesis in the table": lambda m: changed_trial(m, 3, hypothesis="another"),
    "a time in the table": lambda m: changed_trial(m, 3, finished_at="2020-01-01T00:00:00+00:00"),
    "a score in the chain": lambda m: changed_event(m, 3, "trial_finished", score=1.0, label="keep"),
    "a label in the chain": lambda m: changed_event(m, 3, "trial_finished", label="disqualified"),
    "another source in the chain": lambda m: changed_event(
        m, 3, "trial_submitted", source=lines(m, "trials.jsonl")[1]["source"]
    ),
    "a measurement": lambda m: replace(
        m,
        "measurements.jsonl",
        [
            row | {"body": row["body"] | {"score": 1.0}, "score": 1.0} if row["trial"] == 3 else row
            for row in lines(m, "measurements.jsonl")
        ],
    ),
}


@pytest.mark.parametrize("what", EDITED)
def test_a_stranger_who_signs_anew_is_found_by_what_does_not_follow(
    what: str, members: Members, tmp_path: Path
) -> None:
    _, trials = told(tmp_path / "signed.zip", EDITED[what](members))
    assert 3 in trials


def test_a_keep_that_is_not_better_and_a_discard_that_is_are_found(members: Members, tmp_path: Path) -> None:
    """Label and measurement agree here; only the keep rule says otherwise."""
    kept = changed_event(members, 2, "trial_finished", label="keep")
    failures, trials = told(tmp_path / "kept.zip", kept)
    assert 2 in trials
    assert any("expected discard, the best was 2.4 of trial 1" in one["what"] for one in failures)
    discarded = changed_event(members, 1, "trial_finished", label="discard")
    failures, trials = told(tmp_path / "discarded.zip", discarded)
    assert any(one["trial"] == 1 and "expected keep" in one["what"] for one in failures)


def test_a_wrong_best_is_found_wherever_it_is_told(members: Members, tmp_path: Path) -> None:
    best = json.loads(members["best.json"])
    failures, _ = told(tmp_path / "a.zip", members | {"best.json": json.dumps(best | {"exp_id": "001"}).encode()})
    assert failures[0]["member"] == "best.json" and "names 001, the best is 005" in failures[0]["what"]
    row = json.loads(members["campaign.json"]) | {"best_trial": 1}
    failures, trials = told(tmp_path / "b.zip", members | {"campaign.json": json.dumps(row).encode()})
    assert [one["member"] for one in failures] == ["campaign.json"] and trials == {1}
    tree = members["tree.tsv"].splitlines(keepends=True)
    for changed in (tree[:-1], [*tree[:2], *tree[:1:-1]], [line.replace(b"/", b"//") for line in tree],
                    [*tree, b"9" * 30 + tree[1]]):  # fmt: skip
        failures, _ = told(tmp_path / "tree.zip", members | {"tree.tsv": b"".join(changed)})
        assert {one["member"] for one in failures} == {"tree.tsv"}
    steps = lines(members, "frontier.jsonl")
    failures, trials = told(tmp_path / "c.zip", replace(members, "frontier.jsonl", steps[:-1]))
    assert failures[0]["member"] == "frontier.jsonl" and trials == {5}
    failures, trials = told(
        tmp_path / "d.zip", members | {"results.tsv": members["results.tsv"].replace(b"2.2", b"2.1")}
    )
    assert failures[0]["member"] == "results.tsv" and trials == {5}


def test_a_blob_that_is_another_is_blamed_on_its_trials(members: Members, tmp_path: Path) -> None:
    source = b"x = 3\n"
    shard = members["blobs/0000.bin"]
    assert shard.count(source) >= 1
    failures, trials = told(tmp_path / "a.zip", members | {"blobs/0000.bin": shard.replace(source, b"x = 9\n")})
    assert trials == {3}
    assert any("does not have its hash" in one["what"] for one in failures)
    index = members["blobs/0000.idx"].splitlines(keepends=True)
    _, offset, size = index[-1].split()
    without = {"blobs/0000.idx": b"".join(index[:-1]), "blobs/0000.bin": shard[: int(offset)]}
    _, trials = told(tmp_path / "b.zip", members | without)
    assert trials, "a missing blob belongs to somebody"
    extra = {"blobs/0000.idx": b"".join(index) + b"f" * 64 + b" %d 1\n" % (int(offset) + int(size)),
             "blobs/0000.bin": shard + b"x"}  # fmt: skip
    failures, _ = told(tmp_path / "c.zip", members | extra)
    assert any("named by nobody" in one["what"] for one in failures)


def test_a_stranger_s_signature_is_no_pinned_one(bundle: Path, key: str, members: Members, tmp_path: Path) -> None:
    signed = tampering.write(tmp_path / "signed.zip", members, sign=True)
    anybody, pinned = verify_bundle.verify(signed), verify_bundle.verify(signed, [key])
    assert (anybody["ok"], anybody["signer"], anybody["key"]) == (True, "unpinned", tampering.STRANGER.public)
    assert not pinned["ok"] and "expected " + key in pinned["failures"][0]["what"]
    honest = verify_bundle.verify(bundle, [key])
    assert (honest["ok"], honest["signer"]) == (True, key)


@pytest.mark.django_db
def test_a_record_that_is_still_written_verifies(tmp_path: Path) -> None:
    campaign = golf_campaign()
    assert verified(exported(campaign, tmp_path, "empty.zip"))["failures"] == []
    try_one(campaign, 2.5, parent=None)
    tampering_free = verified(exported(campaign, tmp_path, "one.zip"))
    assert tampering_free["failures"] == [] and tampering_free["checked"]["trials"] == 1
