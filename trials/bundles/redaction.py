"""What a bundle leaves out, and what it puts in its place. Pure but for reading which secrets this host knows.

A redaction leaves a hash and a reason: a field of an event its salted hash, a blob its hash, a column of another table
nothing (the event still has the hash). Secrets are always left out; profiles name what else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

import verify_bundle
from trials.bundles.tables import Column
from trials.canonical import dumps, sha256_bytes
from trials.chain import ACTOR, WITHHOLDABLE, commitments, field_salt
from trials.vocab import EventKind

PROFILES = ("names", "prompts", "sources")
WITHHELD_ALWAYS = "secret"
#: Columns that a profile empties, whatever their table.
COLUMNS = {
    "names": frozenset({"worker", "remark"}),
    "prompts": frozenset({"lineage_view", "note", "transcript", "roles"}),
    "sources": frozenset({"diff", "log"}),
}
#: Actors that are parts of the program.
PARTS = frozenset({"judge", "loop", "breaker", "baseline", "command"})
#: In place of a blob that is withheld where a row has to name one; no bundle stores it.
NO_BLOB = verify_bundle.NOTHING
_SHORTEST_SECRET = 16
_NAMED_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSW|CREDENTIAL|DATABASE_URL|BROKER_URL)", re.IGNORECASE)
_FORMS = (
    rb"sk-[A-Za-z0-9_-]{20,}",
    rb"AKIA[0-9A-Z]{16}",
    rb"AIza[0-9A-Za-z_-]{35}",
    rb"gh[pousr]_[A-Za-z0-9]{36}",
    rb"github_pat_[A-Za-z0-9_]{22,}",
    rb"hf_[A-Za-z0-9]{30,}",
    rb"xox[abprs]-[A-Za-z0-9-]{10,}",
    rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
)


class SecretFound(ValueError):
    """A secret stands where nothing can be withheld."""


def known_profiles(text: str) -> list[str]:
    """The profiles that ``--redact`` names, in order. Raises ValueError for an unknown one."""
    chosen = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(chosen - set(PROFILES))
    if unknown:
        raise ValueError(f"redaction profile {unknown[0]!r} is unknown, expected one or more of {', '.join(PROFILES)}")
    return [name for name in PROFILES if name in chosen]


def secrets_pattern() -> re.Pattern[bytes]:
    """Matches the usual forms of keys, and every secret that this host has in its settings, files or environment."""
    known = {settings.SECRET_KEY, str(settings.DATABASES["default"].get("PASSWORD", ""))}
    known |= {value for name, value in os.environ.items() if _NAMED_SECRET.search(name)}
    for name in ("signing-key", "secret-key", "admin-password.txt", "pgpass"):
        path = Path(settings.DATA_DIR) / name
        known.add(path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else "")
    secrets = {text for text in known if len(text) >= _SHORTEST_SECRET}
    secrets |= {dumps(text)[1:-1] for text in secrets}  # as it stands within JSON
    return re.compile(b"|".join([*_FORMS, *sorted(re.escape(text.encode()) for text in secrets)]))


@dataclass
class Redaction:
    """What this bundle leaves out. blobs: hash -> reason of single ones, filled while blobs are written; so is absent:
    hash -> size and time of removal of logs that retention has taken away."""

    profiles: list[str]
    secrets: re.Pattern[bytes]
    blobs: dict[str, str] = field(default_factory=dict)
    absent: dict[str, dict[str, Any]] = field(default_factory=dict)

    def has(self, profile: str) -> bool:
        return profile in self.profiles

    @property
    def hides_columns(self) -> bool:
        """Whether any row is told differently."""
        return bool(self.profiles or self.blobs)

    def column(self, column: Column, value: Any) -> Any:
        """A value of a table, or what stands in its place."""
        hidden = any(column.name in COLUMNS[profile] for profile in self.profiles)
        if column.is_blob:
            body = self.has("prompts") and column.name == "body"
            if hidden or body or value in self.blobs:
                return None if column.field.null else NO_BLOB
            return value
        return column.blank if hidden else value

    def leaves_event(self, actor: str, body: str) -> bool:
        """Whether an event with this payload (JSON text) goes out as it is."""
        return not ({"names", "prompts"} & set(self.profiles) or self.finds(body) or self.finds(actor))

    def event(self, line: Mapping[str, Any], salt: str, before: Mapping[str, Any] | None) -> dict[str, Any]:
        """An event as it stands in the bundle. before: what an imported bundle withheld already, with its salts.

        Raises SecretFound for a secret in a field that cannot be withheld.
        """
        payload: dict[str, Any] = line["body"]
        reasons = self._reasons(str(line["kind"]), str(line["actor"]), payload)
        if before is not None:
            reasons = {name: why for name, why in reasons.items() if name in before["salts"]}
        if not reasons and before is None:
            return {**line, "salt": salt}
        if before is None:
            hashes = commitments(line["actor"], payload, salt)
            salts, withheld = {name: field_salt(salt, name) for name in hashes}, {}
        else:
            salts, withheld = dict(before["salts"]), dict(before["withheld"])
            values = {**payload, ACTOR: line["actor"]}
            hashes = {name: sha256_bytes(dumps([one, values[name]]).encode()) for name, one in salts.items()}
        for name, why in reasons.items():
            withheld[name] = {"sha256": hashes[name], "reason": why}
            del salts[name]
        body = {name: value for name, value in payload.items() if name not in withheld}
        actor = "" if ACTOR in withheld else line["actor"]
        return {**line, "actor": actor, "body": body, "salts": salts, "withheld": withheld}

    def _reasons(self, kind: str, actor: str, payload: Mapping[str, Any]) -> dict[str, str]:
        values = [(ACTOR, actor), *payload.items()]
        reasons = dict.fromkeys(self._with_secrets(values) if self.finds(values) else (), WITHHELD_ALWAYS)
        stuck = sorted(name for name in reasons if name not in WITHHOLDABLE | {ACTOR})
        if stuck:
            raise SecretFound(f"{kind}: {stuck[0]} holds what looks like a secret, and cannot be withheld")
        if self.has("names"):
            person = actor not in PARTS and ":" not in actor
            if person or kind in (EventKind.TRIAL_STARTED, EventKind.TRIAL_RETRIED):
                reasons[ACTOR] = "names"
                if kind == EventKind.CAMPAIGN_STATE:
                    reasons["reason"] = "names"
            named = ("worker", "fault", "created_by", "username", "remark")
            reasons |= {name: "names" for name in named if name in payload}
        if self.has("prompts"):
            reasons |= {name: "prompts" for name in ("roles", "note") if name in payload}
        return reasons

    def _with_secrets(self, values: Iterable[tuple[str, Any]]) -> list[str]:
        return [name for name, value in values if isinstance(value, str | dict | list) and self.finds(value)]

    def finds(self, value: object) -> bool:
        """Whether a value has a secret anywhere in it."""
        data = (
            value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else dumps(value).encode()
        )
        return self.secrets.search(data) is not None

    def as_json(self) -> dict[str, Any]:
        """``redactions.json``."""
        columns = {profile: sorted(COLUMNS[profile]) for profile in self.profiles}
        absent = {"absent": dict(sorted(self.absent.items()))} if self.absent else {}
        return {"profiles": self.profiles, "columns": columns, "blobs": dict(sorted(self.blobs.items()))} | absent
