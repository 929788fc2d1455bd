"""Content-addressed blobs and source trees."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

from trials.canonical import dumps, sha256_bytes
from trials.models import Blob


class CorruptBlob(RuntimeError):
    """Stored bytes no longer have the hash that they are filed under."""


def put_blob(data: bytes) -> str:
    """Store ``data`` once and return its SHA-256 (hex)."""
    sha256 = sha256_bytes(data)
    Blob.objects.bulk_create([Blob(sha256=sha256, size=len(data), data=zlib.compress(data, 6))], ignore_conflicts=True)
    return sha256


def get_blob(sha256: str) -> bytes:
    """Raw bytes, verified on read. Raises Blob.DoesNotExist and CorruptBlob."""
    data = zlib.decompress(bytes(Blob.objects.only("data").get(pk=sha256).data))
    if sha256_bytes(data) != sha256:
        raise CorruptBlob(f"blob {sha256} holds other bytes")
    return data


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
    for data in files.values():
        put_blob(data)
    return put_blob(tree_manifest(files))


def get_tree(sha256: str) -> dict[str, bytes]:
    """File name -> bytes of a stored source tree, every file verified."""
    manifest: dict[str, str] = json.loads(get_blob(sha256))["files"]
    return {name: get_blob(file_hash) for name, file_hash in manifest.items()}
