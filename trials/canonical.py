"""Canonical JSON and SHA-256: the same value always gives the same bytes and the same hash."""

from __future__ import annotations

import hashlib
import json

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def dumps(value: object) -> str:
    """Canonical JSON text: sorted keys, no spaces, no NaN. Raises ValueError for NaN and infinities."""
    return _ENCODER.encode(value)


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_of(value: object) -> str:
    """SHA-256 (hex) of the canonical JSON of ``value``."""
    return sha256_bytes(dumps(value).encode())
