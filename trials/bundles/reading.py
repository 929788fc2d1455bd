"""One trial out of a bundle, without a database."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from trials.bundles.redaction import NO_BLOB
from verify_bundle import BadBundle, Container


@dataclass(frozen=True)
class Recorded:
    """A trial as a bundle has it. campaign: its plan; measurement: what the evaluator saw; source: file -> bytes."""

    campaign: dict[str, Any]
    row: dict[str, Any]
    measurement: dict[str, Any]
    source: dict[str, bytes]
    parent_source: dict[str, bytes] | None


def read_trial(bundle: Container, number: int) -> Recorded:
    """Raises LookupError for a trial that the bundle lacks or that nobody measured, or whose source is withheld."""
    rows = {number: _row(bundle, number)}
    row = rows[number]
    if row["state"] != "finished":
        raise LookupError(f"trial {number} is {row['state']}, expected a finished one")
    measurement = next(
        (
            one
            for one in map(json.loads, bundle.lines("measurements.jsonl"))
            if one["trial"] == number and one["purpose"] == "trial" and one["judged"]
        ),
        None,
    )
    if measurement is None or row["source"] is None:
        raise LookupError(f"trial {number} was not measured by an evaluator, expected one that was")
    parent = None if row["parent"] is None else _row(bundle, row["parent"])
    return Recorded(
        campaign=json.loads(bundle.read("campaign.json")),
        row=row,
        measurement=measurement["body"],
        source=_tree(bundle, row["source"]),
        parent_source=None if parent is None else _tree(bundle, parent["source"]),
    )


def _row(bundle: Container, number: int) -> dict[str, Any]:
    for row in map(json.loads, bundle.lines("trials.jsonl")):
        if row["number"] == number:
            found: dict[str, Any] = row
            return found
    raise LookupError(f"trial {number} is not in {bundle.path}")


def _tree(bundle: Container, sha256: str) -> dict[str, bytes]:
    listed: dict[str, str] = json.loads(_blobs(bundle, {sha256})[sha256])["files"]
    found = _blobs(bundle, set(listed.values()))
    missing = [name for name, one in listed.items() if one not in found]
    if missing:
        raise LookupError(f"the bundle withholds {missing[0]}, expected the sources of the trial and its parent")
    return {name: found[one] for name, one in listed.items()}


def _blobs(bundle: Container, wanted: set[str]) -> dict[str, bytes]:
    """Those of these blobs that are there, by hash."""
    found = {NO_BLOB: b""}
    for name in sorted(bundle.by_name):
        if not re.fullmatch(r"blobs/\d{4}\.idx", name):
            continue
        places = [line.decode("ascii").split(" ") for line in bundle.lines(name)]
        here = [(sha256, int(offset), int(size)) for sha256, offset, size in places if sha256 in wanted]
        if here:
            with bundle.open(f"{name[:-4]}.bin") as stream:
                at = 0
                for sha256, offset, size in here:
                    _skip(stream.read, offset - at)
                    found[sha256] = stream.read(size)
                    at = offset + size
    return found


def _skip(read: Any, count: int) -> None:
    while count > 0:
        block = read(min(count, 1 << 20))
        if not block:
            raise BadBundle("a shard of blobs ends early")
        count -= len(block)
