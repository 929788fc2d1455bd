"""Content-addressed blobs and source trees."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping

from trials.canonical import dumps, sha256_bytes
from trials.models import Blob


class CorruptBlob(RuntimeError):
    """Stored bytes no longer have the hash that they are filed under."""


def put_blob(data: bytes) -> str:
    """Store ``data`` once and return its SHA-256 (hex)."""
    return put_blobs([data])[0]


def put_blobs(many: Iterable[bytes]) -> list[str]:
    """Store each of several once, in at most two queries; returns their SHA-256 (hex) in order.

    What is there already is not compressed again: most files of a trial are its parent's.
    """
    named = [(sha256_bytes(data), data) for data in many]
    fresh = dict(named)
    for known in Blob.objects.filter(pk__in=fresh).values_list("pk", flat=True):
        del fresh[known]
    if fresh:
        blobs = [Blob(sha256=name, size=len(data), data=compressed(data)) for name, data in fresh.items()]
        Blob.objects.bulk_create(blobs, ignore_conflicts=True)
    return [name for name, _ in named]


def compressed(data: bytes) -> bytes:
    """Bytes as they lie in the database."""
    return zlib.compress(data, 6)


def get_blob(sha256: str) -> bytes:
    """Raw bytes, verified on read. Raises Blob.DoesNotExist and CorruptBlob."""
    return _unpacked(sha256, Blob.objects.only("data").get(pk=sha256).data)


def _unpacked(sha256: str, stored: bytes | memoryview[int]) -> bytes:
    data = zlib.decompress(bytes(stored))
    if sha256_bytes(data) != sha256:
        raise CorruptBlob(f"blob {sha256} holds other bytes")
    return data


def get_blobs(hashes: Iterable[str]) -> dict[str, bytes]:
    """Several in one query, by hash, each verified. Raises Blob.DoesNotExist and CorruptBlob."""
    wanted = set(hashes)
    rows = dict(Blob.objects.filter(pk__in=wanted).values_list("sha256", "data"))
    missing = sorted(wanted - rows.keys())
    if missing:
        raise Blob.DoesNotExist(f"blob {missing[0]}")
    return {sha256: _unpacked(sha256, data) for sha256, data in rows.items()}


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
