"""Content-addressed blobs and source trees."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping

from trials.canonical import dumps, sha256_bytes
from trials.models import Blob
from trials.statements import change, rows


class CorruptBlob(RuntimeError):
    """Stored bytes no longer have the hash that they are filed under."""


_KNOWN = "SELECT sha256 FROM trials_blob WHERE sha256 = ANY(%s)"
_STORE = """
INSERT INTO trials_blob (sha256, size, data) SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bytea[])
ON CONFLICT DO NOTHING
"""
_READ = "SELECT sha256, data FROM trials_blob WHERE sha256 = ANY(%s)"


def put_blob(data: bytes) -> str:
    """Store ``data`` once and return its SHA-256 (hex)."""
    return put_blobs([data])[0]


def put_blobs(many: Iterable[bytes]) -> list[str]:
    """Store each of several once, in at most two queries; returns their SHA-256 (hex) in order.

    What is there already is not compressed again: most files of a trial are its parent's.
    """
    named = [(sha256_bytes(data), data) for data in many]
    fresh = dict(named)
    for (known,) in rows(_KNOWN, [list(fresh)]):
        del fresh[known]
    _store(fresh)
    return [name for name, _ in named]


def put_new(data: bytes) -> str:
    """``put_blob`` for what is hardly there yet: one query."""
    name = sha256_bytes(data)
    _store({name: data})
    return name


def _store(fresh: Mapping[str, bytes]) -> None:
    if fresh:
        names = sorted(fresh)  # one order for everybody, so that nobody waits in a circle
        bytes_of = [fresh[name] for name in names]
        change(_STORE, [names, [len(data) for data in bytes_of], [compressed(data) for data in bytes_of]])


def compressed(data: bytes) -> bytes:
    """Bytes as they lie in the database."""
    return zlib.compress(data, 6)


def get_blob(sha256: str) -> bytes:
    """Raw bytes, verified on read. Raises Blob.DoesNotExist and CorruptBlob."""
    return get_blobs([sha256])[sha256]


def _unpacked(sha256: str, stored: bytes | memoryview[int]) -> bytes:
    data = zlib.decompress(bytes(stored))
    if sha256_bytes(data) != sha256:
        raise CorruptBlob(f"blob {sha256} holds other bytes")
    return data


def get_blobs(hashes: Iterable[str]) -> dict[str, bytes]:
    """Several in one query, by hash, each verified. Raises Blob.DoesNotExist and CorruptBlob."""
    wanted = set(hashes)
    found = dict(rows(_READ, [list(wanted)]))
    missing = sorted(wanted - found.keys())
    if missing:
        raise Blob.DoesNotExist(f"blob {missing[0]}")
    return {sha256: _unpacked(sha256, data) for sha256, data in found.items()}


def get_text(sha256: str | None) -> str:
    """Text of a blob, empty for none; bytes that are not UTF-8 are shown as replacement marks."""
    return get_blob(sha256).decode("utf-8", "replace") if sha256 else ""


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
    """File name -> bytes of a stored source tree, every file verified."""
    manifest: dict[str, str] = json.loads(get_blob(sha256))["files"]
    stored = get_blobs(manifest.values())
    return {name: stored[file_hash] for name, file_hash in manifest.items()}
