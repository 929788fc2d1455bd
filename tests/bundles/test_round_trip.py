"""Out, verified, in, and out again: the same bytes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import call_command

import verify_bundle
from specialists.study_models import Study, StudyCampaign
from tests.bundles import tampering
from tests.bundles.records import exported, small_record, verified
from tests.trials.traces.runs import published
from trials.models import Campaign
from trials.services.imports import import_bundle
from trials.services.traces import import_trace
from trials.traces.folder import read_trace
from trials.traces.layouts import layout_of

pytestmark = pytest.mark.django_db


def test_a_bundle_verifies_and_comes_back_byte_for_byte(tmp_path: Path) -> None:
    campaign = small_record()
    first = exported(campaign, tmp_path)
    report = verified(first)
    assert (report["ok"], report["failures"]) == (True, [])
    assert report["checked"]["labels derived from measurements"] == 6
    study = Study.objects.create(
        slug="two", name="Two", created_at=campaign.created_at, plan={"arms": [], "repeats": 1}
    )
    StudyCampaign.objects.create(study=study, campaign=campaign, arm="one", repeat=1)
    assert exported(campaign, tmp_path, "of-a-study.zip").read_bytes() == first.read_bytes()
    taken = import_bundle(first, actor="test")
    assert taken.campaign.slug == "golf-2"
    again = exported(taken.campaign, tmp_path, "again.zip")
    assert again.read_bytes() == first.read_bytes()


def test_a_released_run_goes_out_and_in_with_the_files_it_came_in(tmp_path: Path) -> None:
    folder = published("cifar_airbench96", tmp_path / "run")
    trace = read_trace(folder, layout_of("cifar_airbench96"))
    path = exported(import_trace(trace, "Released"), tmp_path)
    report, members = verified(path), tampering.read(path)
    checked = report["checked"]
    assert (report["failures"], checked["trials"], checked["frontier steps"]) == ([], 98, 5)
    assert (folder / "results.tsv").read_bytes() in members["blobs/0000.bin"]
    taken = import_bundle(path, actor="test")
    assert taken.campaign.is_released_run
    assert exported(taken.campaign, tmp_path, "again.zip").read_bytes() == path.read_bytes()

    rows = tampering.lines(members, "trials.jsonl")
    rows[40]["reason"] = "none"
    edited = tampering.replace(members, "trials.jsonl", rows)
    found = verify_bundle.verify(tampering.write(tmp_path / "edited.zip", edited, sign=True))
    assert [one["trial"] for one in found["failures"]] == [40]


def test_a_made_up_search_of_some_size_verifies_and_comes_back(tmp_path: Path) -> None:
    call_command("fill", "many", "--trials", "300", stdout=io.StringIO())
    path = exported(Campaign.objects.get(slug="many"), tmp_path)
    report = verified(path)
    assert (report["failures"], report["checked"]["trials"]) == ([], 301)
    taken = import_bundle(path, actor="test")
    assert exported(taken.campaign, tmp_path, "again.zip").read_bytes() == path.read_bytes()
