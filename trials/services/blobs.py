"""Content-addressed blobs and source trees."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from trials.canonical import dumps, sha256_bytes
from trials.models import Blob
from trials.statements import change, rows

#: Source trees that a process remembers: most trials are built on one of a few.
REMEMBERED_TREES = 16


class CorruptBlob(RuntimeError):
    """Stored bytes no longer have the hash that they are filed under."""


class RemovedBlob(LookupError):
    """Retention has taken the bytes of a log away; its hash stays on record."""

    def __init__(self, size: int, at: datetime) -> None:
        super().__init__(f"removed by retention at {at:%Y-%m-%d %H:%M:%S} UTC ({size:,} bytes)")
        self.size, self.at = size, at


_KNOWN = "SELECT sha256, removed_at IS NULL FROM trials_blob WHERE sha256 = ANY(%s)"
_BRING_BACK = "SELECT trials_bring_blob(%s, %s)"
_STORE = """
INSERT INTO trials_blob (sha256, size, data) SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bytea[])
ON CONFLICT DO NOTHING
"""
#: Among the answers of a statement that has ``storing`` in its WITH: what retention had taken away is back.
BACK = """
(SELECT trials_bring_blob(%(blob)s, %(blob_data)s)
  WHERE %(blob)s::text IS NOT NULL AND NOT EXISTS (SELECT FROM stored))
"""
_READ = "SELECT sha256, data FROM trials_blob WHERE sha256 = ANY(%s)"


def put_blob(data: bytes) -> str:
    """Store ``data`` once and return its SHA-256 (hex)."""
    return put_blobs([data])[0]


def storing(provided: str) -> str:
    """A name for WITH that stores one blob, or none; see ``part`` and BACK. provided: a condition."""
    return f"""
    stored AS (
        INSERT INTO trials_blob (sha256, size, data)
        SELECT %(blob)s::text, %(blob_size)s::bigint, %(blob_data)s::bytea
         WHERE %(blob)s::text IS NOT NULL AND {provided}
        ON CONFLICT DO NOTHING RETURNING 1)
    """


def part(data: bytes | None) -> dict[str, Any]:
    """Values for ``storing`` and BACK, ``blob`` among them: the SHA-256 (hex). For what is hardly there yet."""
    if data is None:
        return {"blob": None, "blob_size": None, "blob_data": None}
    return {"blob": sha256_bytes(data), "blob_size": len(data), "blob_data": compressed(data)}


def put_blobs(many: Iterable[bytes]) -> list[str]:
    """Store each of several once, in at most two queries; returns their SHA-256 (hex) in order.

    What is there already is not compressed again.
    """
    named = [(sha256_bytes(data), data) for data in many]
    fresh = dict(named)
    for known, there in rows(_KNOWN, [list(fresh)]):
        data = fresh.pop(known)
        if not there:
            bring_back(known, compressed(data))
    _store(fresh)
    return [name for name, _ in named]


def put_changed(files: Mapping[str, bytes], parent: str | None, texts: Sequence[bytes]) -> list[str]:
    """Store files and some texts, in one query; returns the SHA-256 (hex) of the texts in order.

    parent: a source tree that is stored. Most files are the parent's: only others are compressed and sent.
    """
    there = {} if parent is None else _tree(parent)
    own = [data for name, data in files.items() if there.get(name) != data]
    names = [sha256_bytes(data) for data in texts]
    _store(dict(zip(names, texts, strict=True)) | {sha256_bytes(data): data for data in own})
    return names


def _store(fresh: Mapping[str, bytes]) -> None:
    if fresh:
        names = sorted(fresh)  # one order for everybody, so that nobody waits in a circle
        bytes_of = [fresh[name] for name in names]
        packed = [compressed(data) for data in bytes_of]
        if change(_STORE, [names, [len(data) for data in bytes_of], packed]) < len(names):
            for name, data in zip(names, packed, strict=True):  # those that are there whole stay as they are
                bring_back(name, data)


def bring_back(sha256: str, packed: bytes) -> None:
    """Compressed bytes of a blob that retention has taken away; one that is there stays as it is."""
    rows(_BRING_BACK, [sha256, packed])


def compressed(data: bytes) -> bytes:
    """Bytes as they lie in the database."""
    return zlib.compress(data, 6)


def get_blob(sha256: str) -> bytes:
    """Raw bytes, verified on read. Raises Blob.DoesNotExist, RemovedBlob and CorruptBlob."""
    return get_blobs([sha256])[sha256]


def _unpacked(sha256: str, stored: bytes | memoryview[int]) -> bytes:
    data = zlib.decompress(bytes(stored))
    if sha256_bytes(data) != sha256:
        raise CorruptBlob(f"blob {sha256} holds other bytes")
    return data


def get_blobs(hashes: Iterable[str]) -> dict[str, bytes]:
    """Several in one query, by hash, each verified. Raises Blob.DoesNotExist, RemovedBlob and CorruptBlob."""
    wanted = set(hashes)
    found = dict(rows(_READ, [list(wanted)]))
    missing = sorted(wanted - found.keys())
    if missing:
        raise Blob.DoesNotExist(f"blob {missing[0]}")
    for sha256, data in found.items():
        if not data:
            gone = Blob.objects.only("size", "removed_at").get(pk=sha256)
            assert gone.removed_at is not None, "the database takes no bytes away without saying when"
            raise RemovedBlob(gone.size, gone.removed_at)
    return {sha256: _unpacked(sha256, data) for sha256, data in found.items()}


def get_text(sha256: str | None) -> str:
    """Text of a blob, empty for none; bytes that are not UTF-8 are shown as replacement marks. In place of a log that
    retention has taken away it says so."""
    return get_log(sha256)[0]


def get_log(sha256: str | None) -> tuple[str, datetime | None]:
    """``get_text`` of a log, and when retention took its bytes away; None where they are there."""
    try:
        return get_blob(sha256).decode("utf-8", "replace") if sha256 else "", None
    except RemovedBlob as gone:
        return str(gone), gone.at


def tree_manifest(files: Mapping[str, bytes]) -> bytes:
    """Canonical bytes that name a source tree: file names and their SHA-256."""
    return dumps({"files": {name: sha256_bytes(data) for name, data in files.items()}}).encode()


def tree_sha256(files: Mapping[str, bytes]) -> str:
    """Identity of a source tree: equal exactly when names and bytes are equal."""
    return sha256_bytes(tree_manifest(files))


def put_tree(files: Mapping[str, bytes]) -> str:
    """Store every file and the manifest; returns the tree's SHA-256."""
    return put_blobs([*files.values(), tree_manifest(files)])[-1]


def get_tree(sha256: str) -> dict[str, bytes]:
    """File name -> bytes of a stored source tree, every file verified when it was read. Raises as ``get_blob`` does."""
    return dict(_tree(sha256))


@lru_cache(maxsize=REMEMBERED_TREES)
def _tree(sha256: str) -> Mapping[str, bytes]:
    manifest: dict[str, str] = json.loads(get_blob(sha256))["files"]
    stored = get_blobs(manifest.values())
    return {name: stored[file_hash] for name, file_hash in manifest.items()}
