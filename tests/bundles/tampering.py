"""Hands that change a bundle: its bytes, or its content with everything that can be made to fit made to fit again."""

from __future__ import annotations

import hashlib
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import verify_bundle
from trials.bundles.container import ZipWriter
from trials.bundles.signing import Signer
from trials.canonical import dumps

Members = dict[str, bytes]
Line = dict[str, Any]
STRANGER = Signer(b"s" * 32)


def read(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {member.filename: archive.read(member) for member in archive.infolist()}


def write(path: Path, members: Members, *, sign: bool) -> Path:
    """A canonical container with a manifest that fits; with ``sign`` also a head that fits, by a stranger's key."""
    fitting = {name: data for name, data in members.items() if name not in (verify_bundle.MANIFEST, verify_bundle.HEAD)}
    manifest = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in fitting.items()).encode()
    head = json.loads(members[verify_bundle.HEAD])
    if sign:
        last = json.loads(fitting["events.jsonl"].splitlines()[-1])
        head |= {"manifest_sha256": hashlib.sha256(manifest).hexdigest(), "seq": last["seq"], "sha256": last["sha256"]}
        head |= {"head_key": STRANGER.public, "manifest_key": STRANGER.public}
        head["head_signature"] = STRANGER.sign(verify_bundle.head_statement(head))
        head["manifest_signature"] = STRANGER.sign(verify_bundle.manifest_statement(head))
    with path.open("w+b") as stream:
        writer = ZipWriter(stream)
        for name, data in fitting.items():
            writer.add(name, data)
        writer.add(verify_bundle.MANIFEST, manifest)
        writer.add(verify_bundle.HEAD, dumps(head).encode() + b"\n")
        writer.close()
    return path


def lines(members: Members, name: str) -> list[Line]:
    return [json.loads(line) for line in members[name].splitlines()]


def replace(members: Members, name: str, rows: list[Line]) -> Members:
    return members | {name: b"".join(dumps(row).encode() + b"\n" for row in rows)}


def chained(events: list[Line]) -> list[Line]:
    """The same events, numbered and hashed anew: all that somebody without the key can do."""
    previous, done = "", []
    for seq, old in enumerate(events, start=1):
        event = old | {"seq": seq, "previous": previous}
        event["sha256"] = previous = verify_bundle.event_hash(event)
        done.append(event)
    return done


def flip(draw: random.Random, data: bytes) -> bytes:
    """One bit of one byte is another."""
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def _drop(draw: random.Random, rows: list[Line]) -> list[Line]:
    at = draw.randrange(len(rows))
    return rows[:at] + rows[at + 1 :]


def _duplicate(draw: random.Random, rows: list[Line]) -> list[Line]:
    at = draw.randrange(len(rows))
    return rows[: at + 1] + rows[at:]


def _swap(draw: random.Random, rows: list[Line]) -> list[Line]:
    at = draw.randrange(len(rows) - 1)
    return [*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]


def _edit(draw: random.Random, rows: list[Line]) -> list[Line]:
    """One field of one event's payload."""
    at = draw.randrange(len(rows))
    body = dict(rows[at]["body"])
    name = draw.choice(sorted(body))
    body[name] = _other(draw, body[name])
    return [*rows[:at], rows[at] | {"body": body}, *rows[at + 1 :]]


def _retime(draw: random.Random, rows: list[Line]) -> list[Line]:
    at = draw.randrange(len(rows))
    return [*rows[:at], rows[at] | {"at": rows[at]["at"].replace("+00:00", "+01:00")}, *rows[at + 1 :]]


def _other(draw: random.Random, value: Any) -> Any:
    """A value of the same kind that is another."""
    if isinstance(value, bool) or value is None:
        return 1 if value is None else not value
    if isinstance(value, int | float):
        return value + draw.choice((1, -1, 0.001))
    if isinstance(value, str):
        return flip(draw, value.encode() or b"x").decode("utf-8", "replace") + "~"
    return {"other": value}


EVENTS: tuple[Callable[[random.Random, list[Line]], list[Line]], ...] = (_drop, _duplicate, _swap, _edit, _retime)
