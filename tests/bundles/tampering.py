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


# --- by kind: each changes what a bundle says, and tells the trial that it is about, None for none --------------------

Tampered = tuple[Members, int | None]
Change = Callable[[random.Random, list[Line]], list[Line]]
Tamper = Callable[[random.Random, Members], Tampered]
#: Members that are lines of JSON or text, whatever is in them.
LINES = ("events.jsonl", "trials.jsonl", "measurements.jsonl", "evaluations.jsonl", "sessions.jsonl", "calls.jsonl",
         "rollups.jsonl", "frontier.jsonl", "confirmations.jsonl", "results.tsv", "tree.tsv")  # fmt: skip


def _event(draw: random.Random, members: Members, change: Change) -> Tampered:
    """An event is changed, and the chain after it made to fit; in half of the cases."""
    before = lines(members, "events.jsonl")
    after = change(draw, before)
    at = next((n for n, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), None)
    if draw.random() < 0.5:
        after = chained(after)
    longer = after if len(after) > len(before) else before
    one = longer[-1 if at is None else at]
    return replace(members, "events.jsonl", after), one["trial"]


def _cut(draw: random.Random, rows: list[Line]) -> list[Line]:
    """The newest events are not there."""
    return rows[: -draw.randint(1, 3)]


def _forge(draw: random.Random, rows: list[Line]) -> list[Line]:
    """An event that nobody has recorded."""
    at = draw.randrange(2, len(rows))
    return [*rows[:at], rows[draw.randrange(1, at - 1) if at > 2 else 1], *rows[at:]]


def _person(draw: random.Random, rows: list[Line]) -> list[Line]:
    at = draw.randrange(len(rows))
    return [*rows[:at], rows[at] | {"actor": rows[at]["actor"] + "x"}, *rows[at + 1 :]]


def _outcome(draw: random.Random, members: Members, **values: Any) -> Tampered:
    """What a trial's last event and its row say of the outcome, changed in both; the chain fits again."""
    events, rows = lines(members, "events.jsonl"), lines(members, "trials.jsonl")
    ended = [event for event in events if event["kind"] in ("trial_finished", "trial_imported")]
    event = draw.choice(ended[1:])
    number = event["trial"]
    event["body"] |= {name: make(event["body"][name]) for name, make in values.items()}
    row = next(row for row in rows if row["number"] == number)
    row |= {name: event["body"][name] for name in values if name in row}
    if "label" in values:
        row["standing"] = event["body"]["label"]
    changed = replace(members, "events.jsonl", chained(events))
    return replace(changed, "trials.jsonl", rows), number


def _row(draw: random.Random, members: Members, name: str, column: str, make: Callable[[Any], Any]) -> Tampered:
    rows = lines(members, name)
    at = draw.randrange(len(rows))
    rows[at] |= {column: make(rows[at][column])}
    number = rows[at].get("number" if name == "trials.jsonl" else "trial")
    return replace(members, name, rows), number


def _sources(draw: random.Random, members: Members) -> Tampered:
    """Two trials have each other's source, in the table."""
    rows = lines(members, "trials.jsonl")
    one, two = draw.sample([row for row in rows if row["source"]] or rows, 2)
    key = "source" if one["source"] != two["source"] else "hypothesis"
    one[key], two[key] = two[key], one[key]
    return replace(members, "trials.jsonl", rows), one["number"]


def _measured(draw: random.Random, members: Members) -> Tampered:
    """A measurement says another score, and has its hash again; its event names the new one."""
    rows, events = lines(members, "measurements.jsonl"), lines(members, "events.jsonl")
    if not rows:  # a released run
        return _row(draw, members, "trials.jsonl", "score", lambda score: (score or 0.0) + 0.01)
    row = draw.choice(rows)
    body = row["body"] | {"score": (row["body"]["score"] or 1.0) - 0.5}
    before, row["sha256"] = row["sha256"], verify_bundle.sha256_of(body)
    row |= {"body": body, "score": body["score"]}
    for event in events:
        if event["body"].get("measurement") == before and event["trial"] == row["trial"]:
            event["body"]["measurement"] = row["sha256"]
    changed = replace(members, "measurements.jsonl", rows)
    return replace(changed, "events.jsonl", chained(events)), row["trial"]


def _blob(draw: random.Random, members: Members) -> Tampered:
    """A blob has other bytes of the same length."""
    name = draw.choice([one for one in members if one.startswith("blobs/") and one.endswith(".bin") and members[one]])
    return members | {name: flip(draw, members[name])}, None


def _line(draw: random.Random, members: Members) -> Tampered:
    """A line of a table is gone, twice there, or elsewhere."""
    name = draw.choice([one for one in LINES if members.get(one, b"").count(b"\n") > 2])
    rows = members[name].splitlines(keepends=True)
    change = draw.choice((_drop, _duplicate, _swap))
    changed = change(draw, rows)  # type: ignore[arg-type]
    if changed == rows:  # two equal lines were swapped
        changed = rows[:-1]
    return members | {name: b"".join(changed)}, None  # type: ignore[arg-type]


def _free(members: Members) -> list[str]:
    return [name for name in members if name not in (verify_bundle.MANIFEST, verify_bundle.HEAD)]


def _byte(draw: random.Random, members: Members) -> Tampered:
    """A byte of any member is another, but for those that ``write`` makes anew."""
    name = draw.choice([one for one in _free(members) if members[one]])
    return members | {name: flip(draw, members[name])}, None


def _member(draw: random.Random, members: Members) -> Tampered:
    """A member is gone, new, empty or has another's name."""
    name, how = draw.choice(_free(members)), draw.randrange(4)
    if how == 0:
        return {one: data for one, data in members.items() if one != name}, None
    if how == 1:
        return members | {f"snapshots/{draw.randrange(99)}_extra/x.py": b"print(1)\n"}, None
    if how == 2:
        return members | {name: b"" if members[name] else b"\n"}, None
    return {one + ("x" if one == name else ""): data for one, data in members.items()}, None


def _best(draw: random.Random, members: Members) -> Tampered:
    """Another trial is the best, in best.json, the frontier and the campaign."""
    rows = [row for row in lines(members, "trials.jsonl") if row["score"] is not None]
    steps = lines(members, "frontier.jsonl")
    row = draw.choice([row for row in rows if row["number"] != steps[-1]["trial"]])
    campaign, best = json.loads(members["campaign.json"]), json.loads(members["best.json"])
    best |= {"exp_id": verify_bundle.exp_id(row["number"]), campaign["score_name"]: row["score"]}
    campaign |= {"best_trial": row["number"], "best_score": row["score"]}
    steps[-1] |= {"trial": row["number"], "number": row["number"], "score": row["score"]}
    changed = members | {"best.json": dumps(best).encode(), "campaign.json": dumps(campaign).encode() + b"\n"}
    return replace(changed, "frontier.jsonl", steps), row["number"]


def _limits(draw: random.Random, members: Members) -> Tampered:
    """The specification allows more."""
    campaign = json.loads(members["campaign.json"])
    campaign["spec"]["profile"]["limits"]["train_seconds"] = 10**6
    spec = dumps(campaign["spec"]).encode() + b"\n"
    return members | {"campaign.json": dumps(campaign).encode() + b"\n", "spec.json": spec}, None


#: By a hand without the key. Those in FOLLOW are found even when a stranger signs everything anew.
TAMPERS: dict[str, Tamper] = {
    "an event is dropped": lambda draw, members: _event(draw, members, _drop),
    "an event is there twice": lambda draw, members: _event(draw, members, _duplicate),
    "two events have changed places": lambda draw, members: _event(draw, members, _swap),
    "a field of an event": lambda draw, members: _event(draw, members, _edit),
    "the time of an event": lambda draw, members: _event(draw, members, _retime),
    "the newest events are gone": lambda draw, members: _event(draw, members, _cut),
    "a forged event": lambda draw, members: _event(draw, members, _forge),
    "somebody else did it": lambda draw, members: _event(draw, members, _person),
    "a label, everywhere": lambda draw, members: _outcome(
        draw, members, label=lambda label: "discard" if label == "keep" else "keep"
    ),
    "a score, everywhere": lambda draw, members: _outcome(draw, members, score=lambda score: (score or 1.0) * 0.9),
    "a score in the table": lambda draw, members: _row(
        draw, members, "trials.jsonl", "score", lambda score: (score or 0.0) + 1e-6
    ),
    "a standing in the table": lambda draw, members: _row(
        draw, members, "trials.jsonl", "standing", lambda label: "discard" if label == "keep" else "keep"
    ),
    "sources have changed places": _sources,
    "a measurement, its hash and its event": _measured,
    "another best": _best,
    "other limits": _limits,
    "bytes of a blob": _blob,
    "a line of a table": _line,
    "a byte of a member": _byte,
    "a member": _member,
}
FOLLOW = frozenset({
    "an event is dropped", "an event is there twice", "two events have changed places", "a label, everywhere",
    "a score in the table", "a standing in the table", "sources have changed places", "another best", "bytes of a blob",
})  # fmt: skip


def raw(draw: random.Random, data: bytes) -> bytes:
    """The file itself is changed somewhere: a bit, a byte more or less, a block, the end."""
    at, how = draw.randrange(len(data)), draw.randrange(8)
    if how < 4:
        return flip(draw, data)
    block = draw.randbytes(draw.choice((1, 16, 500)))
    if how == 4:
        return data[:at] + block + data[at:]
    if how == 5:
        return data[:at] + data[at + 1 :]
    if how == 6:
        return data + block
    return data[: max(at, 1)]


def is_found(path: Path, keys: list[str]) -> dict[str, Any] | None:
    """What the verifier has against a bundle, None for nothing."""
    try:
        report = verify_bundle.verify(path, keys)
    except verify_bundle.BadBundle as error:
        return {"failures": [{"member": "container", "trial": None, "what": str(error)}]}
    return None if report["ok"] else report
