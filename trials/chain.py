"""The formula of the event chain. Pure: the same fields always give the same hash.

What may have to be withheld later (names, free text) enters the chain as a salted hash: with the text taken out and its
hash left in, the chain still verifies, and the salt keeps short texts from being guessed. ``verify_bundle.py`` has the
same formula in its own words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trials.canonical import dumps, sha256_of

ACTOR = "@actor"
_EXACT, _FINITE = 2**53, 2**1023  # integers that a float has exactly, integers that it has at all
#: Top-level fields of a payload that enter the chain as salted hashes.
WITHHOLDABLE = frozenset(
    {
        "name",
        "created_by",
        "roles",
        "reason",
        "hypothesis",
        "proposal",
        "worker",
        "fault",
        "note",
        "excerpt",
        "username",
        "remark",
    }
)


#: Columns of a trial's row that follow from its events.
BOUND = (
    "number", "role", "parent", "depth", "hypothesis", "expected_delta", "proposal", "surface", "source", "diff",
    "lineage_view", "seed", "submitted_at", "state", "label", "reason", "score", "delta_vs_best", "delta_vs_parent",
    "numbers", "artifact_bytes", "excerpt", "log", "isolation_level", "started_at", "measured_at", "finished_at",
    "queue_seconds", "run_seconds", "eval_seconds", "log_seconds",
)  # fmt: skip


def row_sha256(row: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a trial's row as JSON, however a database writes its numbers: 1.0 is 1."""
    return sha256_of(_plain({name: row[name] for name in BOUND}))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if type(value) is int and _EXACT < abs(value) < _FINITE:
        return float(value)
    return value


def field_salt(salt: str, name: str) -> str:
    """The salt of one field, from that of its event: it tells nothing of the others."""
    return sha256_of([salt, name])


def commitment(salt: str, value: object) -> str:
    """The hash that stands for a value; ``salt`` is the field's."""
    return sha256_of([salt, value])


def commitments(actor: str, payload: Mapping[str, Any], salt: str) -> dict[str, str]:
    """Hashes of all fields of an event that may be withheld; empty for an event without a salt."""
    if not salt:
        return {}
    values = {name: payload[name] for name in payload if name in WITHHOLDABLE} | {ACTOR: actor}
    return {name: commitment(field_salt(salt, name), value) for name, value in values.items()}


def chain_hash(
    *,
    seq: int,
    at: datetime,
    kind: str,
    actor: str,
    trial: int | None,
    body: str,
    previous: str,
    salt: str = "",
    redaction: Mapping[str, Any] | None = None,
) -> str:
    """SHA-256 (hex) of one event; ``body`` is its canonical payload, ``previous`` the hash before it.

    redaction: ``withheld`` (field -> sha256 and reason) and ``salts`` (field -> salt of what is still there).
    """
    payload: dict[str, Any] = json.loads(body)
    if redaction is None:
        hashes = commitments(actor, payload, salt)
    else:
        values = payload | {ACTOR: actor}
        hashes = {name: commitment(one, values[name]) for name, one in redaction["salts"].items()}
        hashes |= {name: one["sha256"] for name, one in redaction["withheld"].items()}
    named = {name: value for name, value in hashes.items() if name != ACTOR}
    return sha256_of(
        {
            "seq": seq,
            "at": at.isoformat(),
            "kind": kind,
            "actor": hashes.get(ACTOR, actor),
            "trial": trial,
            "body": dumps(payload | named) if named else body,
            "previous": previous,
        }
    )
