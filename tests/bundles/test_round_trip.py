"""Out, verified, in, and out again: the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundles.records import exported, small_record, verified
from trials.services.imports import import_bundle

pytestmark = pytest.mark.django_db


def test_a_bundle_verifies_and_comes_back_byte_for_byte(tmp_path: Path) -> None:
    campaign = small_record()
    first = exported(campaign, tmp_path)
    report = verified(first)
    assert (report["ok"], report["failures"]) == (True, [])
    assert report["checked"]["labels derived from measurements"] == 6
    taken = import_bundle(first, actor="test")
    assert taken.campaign.slug == "golf-2"
    again = exported(taken.campaign, tmp_path, "again.zip")
    assert again.read_bytes() == first.read_bytes()
