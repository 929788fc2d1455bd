#!/usr/bin/env python3
"""Verify an audit bundle: ``python3 verify_bundle.py FILE.zip [--key PUBLIC] [--json]``.

One file, standard library only (Python 3.11 or newer). Nothing is trusted but the bundle's bytes and, with ``--key``,
the public key that you got from somewhere else. What is checked, in this order:

    container    every byte of the zip is where the canonical form puts it
    manifest     SHA-256 of every member
    signature    Ed25519 (RFC 8032) under the head of the chain and under the manifest
    chain        every event's hash, number and predecessor
    trials       each row is what its events say; labels follow from measurements, keeps from the keep rule
    best         frontier, counters, best.json and results.tsv follow from the trials
    blobs        every blob has its hash, every hash that is named has its blob

Time grows with the size of the bundle, memory does not: what is kept per trial lies in temporary files. Exit status:
0 when all of it holds, 1 when not, 2 for wrong usage. ``docs/audit.md`` of the project tells how to do it by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import heapq
import io
import json
import math
import os
import re
import statistics
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

FORMAT = "autoresearch-bundle/1"
MOST_MEMBERS = 2_000
MOST_LINE = 64 << 20
MOST_SMALL = 256 << 20  # manifest, head and the like are read whole
CHUNK = 1 << 20
MOST_FAILURES = 200
Row = dict[str, Any]
#: What reading a stranger's values may raise.
UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError, struct.error,
)  # fmt: skip


# --- canonical JSON and the formula of the chain ----------------------------------------------------------------------


#: Canonical JSON: sorted keys, no spaces, no NaN.
dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def sha256_of(value: object) -> str:
    return hashlib.sha256(dumps(value).encode()).hexdigest()


ACTOR = "@actor"
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


def event_hash(event: Mapping[str, Any]) -> str:
    """SHA-256 of one line of events.jsonl, from its fields alone.

    Names and free text enter as salted hashes, so that a bundle can withhold them and the chain still holds.
    """
    payload: Row = event["body"]
    if "salts" in event:
        values = {**payload, ACTOR: event["actor"]}
        hashes = {name: sha256_of([salt, values[name]]) for name, salt in event["salts"].items()}
        hashes |= {name: one["sha256"] for name, one in event["withheld"].items()}
        open_fields = {name for name in values if name in WITHHOLDABLE or name == ACTOR} - set(event["withheld"])
        if open_fields != set(event["salts"]) or set(event["withheld"]) & set(payload):
            raise ValueError("salts and withheld fields do not match its payload")
    else:
        salt = event["salt"]
        values = {name: payload[name] for name in payload if name in WITHHOLDABLE} | {ACTOR: event["actor"]}
        hashes = {name: sha256_of([sha256_of([salt, name]), value]) for name, value in values.items()}
    named = {name: value for name, value in hashes.items() if name != ACTOR}
    return sha256_of(
        {
            "seq": event["seq"],
            "at": event["at"],
            "kind": event["kind"],
            "actor": hashes[ACTOR],
            "trial": event["trial"],
            "body": dumps({**payload, **named}),
            "previous": event["previous"],
        }
    )


# --- Ed25519, RFC 8032: verification only, so nothing here has to hide its timing -------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
Point = tuple[int, int, int, int]  # extended coordinates: x = X/Z, y = Y/Z, T = XY/Z


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(scalar: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point, scalar = _add(point, point), scalar >> 1
    return total


def _point(encoded: bytes) -> Point | None:
    """The point that 32 bytes encode, None when they encode none."""
    y, sign = int.from_bytes(encoded, "little") & (2**255 - 1), encoded[31] >> 7
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P != u:
        x = x * _ROOT % _P
        if v * x * x % _P != u:
            return None
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


_BASE = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))


def ed25519_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is that of the holder of ``public`` (32 bytes) under ``message``."""
    if len(public) != 32 or len(signature) != 64 or _BASE is None:
        return False
    key, r, s = _point(public), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= _L:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    left, right = _multiply(s, _BASE), _add(r, _multiply(challenge, key))
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 == (left[1] * right[2] - right[1] * left[2]) % _P


# --- the canonical container: stored members, no gaps, one date, sizes in 64 bits -------------------------------------

_LOCAL = struct.Struct("<4s5HLLLHH")
_CENTRAL = struct.Struct("<4s6HLLL5HLL")
_DATE = (1 << 5) | 1  # 1980-01-01
_VERSION, _UTF8, _FULL = 45, 0x800, 0xFFFFFFFF


def local_header(name: str, crc: int, size: int) -> bytes:
    """What stands before a member's bytes."""
    encoded = name.encode()
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    fixed = (b"PK\3\4", _VERSION, _UTF8, 0, 0, _DATE, crc, _FULL, _FULL, len(encoded), len(extra))
    return _LOCAL.pack(*fixed) + encoded + extra


def directory_entry(name: str, crc: int, size: int, offset: int) -> bytes:
    """A member's line in the directory at the end."""
    encoded = name.encode()
    extra = struct.pack("<HHQQQ", 1, 24, size, size, offset)
    mode = 0o100644 << 16
    head = (b"PK\1\2", 3 << 8 | _VERSION, _VERSION, _UTF8, 0, 0, _DATE, crc, _FULL, _FULL)
    return _CENTRAL.pack(*head, len(encoded), len(extra), 0, 0, 0, mode, _FULL) + encoded + extra


def directory_end(members: int, start: int, size: int) -> bytes:
    """What stands after the directory, which has ``size`` bytes from ``start``."""
    record = struct.pack(
        "<4sQHHLLQQQQ", b"PK\6\6", 44, 3 << 8 | _VERSION, _VERSION, 0, 0, members, members, size, start
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1)
    return record + locator + struct.pack("<4s4HLLH", b"PK\5\6", 0, 0, members, members, _FULL, _FULL, 0)


class Slice(io.RawIOBase):
    """``size`` bytes of a file from ``offset``, read without a position that others share."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._at, self._end = descriptor, offset, offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._descriptor, min(len(buffer), self._end - self._at), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class BadBundle(Exception):
    """The file cannot be read as a bundle at all."""


class Container:
    """The members of a zip, by name. Only stored ones can be opened: a bundle has no others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.stream: IO[bytes] = path.open("rb")
        except OSError as error:
            raise BadBundle(f"{path}: {error.strerror}, expected a bundle") from None
        try:
            with zipfile.ZipFile(self.stream) as archive:
                self.members = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError, struct.error) as error:
            raise BadBundle(f"{path}: not a readable zip ({error}), expected a bundle") from None
        self.by_name = {member.filename: member for member in self.members}

    def open(self, name: str) -> io.BufferedReader:
        """The bytes of a member. Raises BadBundle when it is not there or not stored."""
        member = self.by_name.get(name)
        if member is None:
            raise BadBundle("is missing")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise BadBundle("is compressed or encrypted, expected stored bytes")
        if not 0 <= member.header_offset < 2**62 or not 0 <= member.file_size < 2**62:
            raise BadBundle("lies outside of the file")
        header = os.pread(self.stream.fileno(), _LOCAL.size, member.header_offset)
        if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
            raise BadBundle("has no header where the directory says")
        lengths = struct.unpack_from("<HH", header, 26)
        begin = member.header_offset + _LOCAL.size + sum(lengths)
        return io.BufferedReader(Slice(self.stream.fileno(), begin, member.file_size), CHUNK)

    def read(self, name: str, most: int = MOST_SMALL) -> bytes:
        """A small member, whole."""
        with self.open(name) as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise BadBundle(f"has more than {most:,} bytes")
        return data

    def lines(self, name: str) -> Iterator[bytes]:
        """Lines of a member without their newline. Raises BadBundle for one that is too long or not ended."""
        with self.open(name) as stream:
            while line := stream.readline(MOST_LINE):
                if not line.endswith(b"\n"):
                    raise BadBundle("has a line that is too long or not ended")
                yield line[:-1]


def check_name(name: str) -> str:
    """Why no member may be called so, empty when it may."""
    parts = name.split("/")
    if not name or len(name) > 300 or any(part in ("", ".", "..") for part in parts):
        return "an empty, absolute or climbing path"
    if not all(c.isascii() and (c.isalnum() or c in "._-/+") for c in name):
        return "a character other than letters, digits and ._-+/"
    return ""


# --- what is found ----------------------------------------------------------------------------------------------------


class Findings:
    """Failures, each with the member and, where one is meant, the trial; and counts of what was checked."""

    def __init__(self) -> None:
        self.failures: list[Row] = []
        self.more = 0
        self.checked: dict[str, int] = {}
        self.trials: set[int] = set()

    def fail(self, member: str, what: str, trial: int | None = None) -> None:
        if trial is not None:
            self.trials.add(trial)
        if len(self.failures) >= MOST_FAILURES:
            self.more += 1
            return
        self.failures.append({"member": member, "trial": trial, "what": what})

    def count(self, what: str, number: int = 1) -> None:
        self.checked[what] = self.checked.get(what, 0) + number


# --- sorting and looking up more than memory should hold --------------------------------------------------------------


class Sorter:
    """Hashes (32 bytes), added in any order, read in order without repeats; flat memory."""

    RUN = 200_000

    def __init__(self) -> None:
        self._runs: list[IO[bytes]] = []
        self._fresh: set[bytes] = set()

    def add(self, digest: bytes) -> None:
        self._fresh.add(digest)
        if len(self._fresh) >= self.RUN:
            self._spill()

    def _spill(self) -> None:
        run = tempfile.TemporaryFile()
        run.write(b"".join(sorted(self._fresh)))
        self._runs.append(run)
        self._fresh.clear()

    def __iter__(self) -> Iterator[bytes]:
        last = b""
        for digest in heapq.merge(*map(self._read, self._runs), sorted(self._fresh)):
            if digest != last:
                yield digest
            last = digest

    @staticmethod
    def _read(run: IO[bytes]) -> Iterator[bytes]:
        run.seek(0)
        while block := run.read(32 * 4096):
            for at in range(0, len(block), 32):
                yield block[at : at + 32]


class Table:
    """A record of fixed size per number, in a temporary file."""

    def __init__(self, layout: str) -> None:
        self._layout, self._file = struct.Struct(layout), tempfile.TemporaryFile()

    def put(self, number: int, *values: Any) -> None:
        os.pwrite(self._file.fileno(), self._layout.pack(*values), number * self._layout.size)

    def get(self, number: int) -> tuple[Any, ...] | None:
        data = os.pread(self._file.fileno(), self._layout.size, number * self._layout.size)
        return self._layout.unpack(data) if len(data) == self._layout.size else None


def plain(value: Any) -> Any:
    """The same value however a database has written its numbers: 1.0 is 1, 1e+20 is 100000000000000000000."""
    kind = type(value)
    if kind is float:
        return int(value) if abs(value) <= 2**53 and value.is_integer() else value
    if kind is int:
        return float(value) if 2**53 < abs(value) < 2**1023 else value
    if kind is dict:
        return {name: plain(item) for name, item in value.items()}
    if kind is list:
        return [plain(item) for item in value]
    return value


# --- labels from measurements: the judges of the environments, in their own words -------------------------------------

VALID = "valid"
SCORED = frozenset({"baseline", "keep", "provisional", "discard"})
FAILED = frozenset(
    {
        "preflight_crash", "crash", "size_blocked", "train_budget_overrun", "eval_budget_overrun", "disqualified",
        "invalid_result", "rule_violation",
    }
)  # fmt: skip
Judged = tuple[str, float | None]
Judge = Callable[[Row, Row, Row], str]


def judge(spec: Row, record: Row) -> Judged | None:
    """(label or ``valid``, score) that a measurement deserves under a campaign's specification; None when the rules of
    its environment are not known here."""
    if record["status"] != "ok":
        return record["status"], None
    if "synthetic" in spec:  # made up for tests of scale: nothing was measured, no limit was applied
        return VALID, record["score"]
    name = "script" if spec.get("score_source") == "log" else spec["name"]
    if name not in _JUDGES or "settings" not in spec["profile"]:
        return None
    profile = spec["profile"]
    label = _JUDGES[name](record, profile["limits"], profile["settings"])
    return label, record["score"] if label == VALID else None


def _late(record: Row, limits: Row) -> str:
    if not limits["wallclock"]:
        return ""
    seconds, most = record["seconds"], 1 + limits["unit_tolerance"]
    if seconds.get("train", 0.0) > limits["train_seconds"] * most:
        return "train_budget_overrun"
    evaluated = seconds.get("spell", 0.0) + seconds.get("predict", 0.0)
    return "eval_budget_overrun" if evaluated > limits["eval_seconds"] * most else ""


def _over(record: Row, limits: Row, phase: str) -> str:
    spent, budget = record[f"{phase}_units"], limits[f"{phase}_units"]
    over = spent is not None and budget is not None and spent > budget * (1 + limits["unit_tolerance"])
    return f"{phase}_budget_overrun" if over else ""


def _size(record: Row) -> int | None:
    code, payload = record["code_bytes"], record["payload_bytes"]
    return None if code is None or payload is None else int(code + payload)


def _finite(record: Row) -> bool:
    return isinstance(record["score"], int | float) and math.isfinite(record["score"])


def _parameter_golf(record: Row, limits: Row, settings: Row) -> str:
    size, cap = _size(record), limits["artifact_bytes"]
    if late := _late(record, limits):
        return late
    if size is None:
        return "invalid_result"
    if cap is not None and size > cap:
        return "size_blocked"
    if over := _over(record, limits, "train") or _over(record, limits, "eval"):
        return over
    believed = _finite(record) and record["score"] >= float(str(settings["implausible_score"]))
    return VALID if believed else "invalid_result"


def _nanochat_d12(record: Row, limits: Row, settings: Row) -> str:
    if late := _late(record, limits):
        return late
    if not limits["wallclock"] and float(record["numbers"]["budget_used"]) > 1 + limits["unit_tolerance"]:
        return "train_budget_overrun"
    if over := _over(record, limits, "eval"):
        return over
    believed = _finite(record) and record["score"] <= float(str(settings["implausible_score"]))
    return VALID if believed else "invalid_result"


def _cifar_airbench96(record: Row, limits: Row, settings: Row) -> str:
    spent, walls = (
        [seconds for name, seconds in record[booked].items() if name.startswith("seed_")]
        for booked in ("cpu_seconds", "seconds")
    )
    longest = limits["train_seconds"] + limits["eval_seconds"]
    processes = int(settings["processes"])
    if len(spent) != processes:
        return "invalid_result"
    if max(spent) > float(settings["train_cpu_seconds"]) + float(settings["eval_cpu_seconds"]):
        return "train_budget_overrun"
    if max(walls, default=0.0) > float(settings.get("process_seconds", longest)):
        return "train_budget_overrun"
    if sum(walls) > float(settings.get("trial_seconds", processes * longest)):
        return "train_budget_overrun"
    correct, scored = (int(record["numbers"].get(name, 0)) for name in ("correct", "scored"))
    if scored < 1:
        return "invalid_result"
    if Fraction(str(settings["gate"])) > Fraction(correct, scored):
        return "disqualified"
    believed = _finite(record) and record["score"] >= float(settings["floor_seconds"])
    return VALID if believed else "invalid_result"


def _script(record: Row, limits: Row, settings: Row) -> str:
    size, cap = _size(record), limits["artifact_bytes"]
    if cap is not None and size is None:
        return "invalid_result"
    if cap is not None and size is not None and size > cap:
        return "size_blocked"
    minimum, value = settings.get("gate_minimum"), record["secondary"].get("gate")
    if minimum is not None and value is None:
        return "invalid_result"
    if minimum is not None and Decimal(str(minimum)) > Decimal(str(value)):
        return "disqualified"
    return VALID if _finite(record) else "invalid_result"


_JUDGES: dict[str, Judge] = {
    "parameter_golf": _parameter_golf,
    "nanochat_d12": _nanochat_d12,
    "cifar_airbench96": _cifar_airbench96,
    "script": _script,
}


# --- replaying the events ---------------------------------------------------------------------------------------------

_LATER: Row = {
    "state": "queued", "label": "", "reason": "", "score": None, "delta_vs_best": None, "delta_vs_parent": None,
    "numbers": {}, "artifact_bytes": None, "excerpt": "", "log": None, "isolation_level": "", "started_at": None,
    "measured_at": None, "finished_at": None, "queue_seconds": None, "run_seconds": None, "eval_seconds": None,
    "log_seconds": None,
}  # fmt: skip
_SUBMITTED = (
    "number", "role", "parent", "depth", "hypothesis", "expected_delta", "proposal", "surface", "source", "diff",
    "lineage_view", "seed", "submitted_at",
)  # fmt: skip
_FINISHED = tuple(name for name in _LATER if name != "state")
_BOUND = (*_SUBMITTED, *_LATER)
_BLANK: Row = {
    "hypothesis": "",
    "proposal": {},
    "reason": "",
    "excerpt": "",
    "roles": [],
    "name": "",
    "created_by": None,
}
_PLAN = (
    "name", "environment", "profile", "spec", "roster", "roles", "proposer", "lineage", "keep_rule", "minimum_level",
    "seed", "reproducible", "max_trials", "max_hours", "slots", "no_improvement_hours", "created_at", "created_by",
    "spec_sha256", "direction", "score_name",
)  # fmt: skip
_ENDED = frozenset({"finished", "stopped", "failed"})
_STANDINGS = ("", "harness_abort", *sorted(SCORED | FAILED))
PROVISIONAL = _STANDINGS.index("provisional")


class Withheld:
    """What a redacted bundle leaves out: profiles, and single blobs with the reason for each."""

    def __init__(self, said: Row) -> None:
        self.profiles = list(said["profiles"])
        self.blobs: dict[str, str] = dict(said["blobs"])
        self.absent: dict[str, Row] = dict(said.get("absent", {}))  # logs that retention has taken away
        self.columns = {"sources": {"diff", "log"}, "prompts": {"lineage_view"}}
        self.gone = {column for profile in self.profiles for column in self.columns.get(profile, ())}

    def blob(self, column: str, sha256: str | None) -> str | None:
        """What a row says where its event names this blob."""
        return None if column in self.gone or sha256 in self.blobs else sha256


def fold(row: Row, event: Row, withheld: Withheld) -> Row:
    """A trial's row after one more of its events."""
    payload, kind = event["body"], event["kind"]

    def value(name: str) -> Any:
        if name in event.get("withheld", {}):
            return _BLANK[name]
        said = payload[name]
        return withheld.blob(name, said) if name in ("diff", "log", "lineage_view") else said

    if kind == "trial_submitted":
        return {name: value(name) for name in _SUBMITTED} | _LATER
    if kind == "trial_started":
        return row | {"state": "running", "started_at": payload["started_at"]}
    if kind == "trial_retried" and payload["purpose"] == "trial":
        return row | {"state": "queued"}
    if kind == "trial_finished":
        return row | {name: value(name) for name in _FINISHED} | {"state": "finished"}
    return row


def row_digest(row: Row) -> bytes:
    return hashlib.sha256(dumps(plain({name: row[name] for name in _BOUND})).encode()).digest()


class Replay:
    """The campaign as its events tell it."""

    def __init__(self, bundle: Container, findings: Findings, withheld: Withheld, removed: Sorter) -> None:
        self.bundle, self.findings, self.withheld, self.removed = bundle, findings, withheld, removed
        self.open: dict[int, Row] = {}
        self.rows = Table("<32s32sd?B")  # digest of the row, source, score (nan: none), there, standing
        self.launched: Row = {}
        self.state, self.state_reason = "", ""
        self.seq, self.head, self.last_number, self.submitted = 0, "", -1, 0
        self.released = False  # a run of another system, which was imported from its own files
        self.trials = self.keeps = 0
        self.best: tuple[int, float] | None = None
        self.frontier: list[tuple[int, float]] = []
        self.measurements = Measurements(bundle, findings)
        self.verified = Verified(self, findings)
        self.approvals = Approvals(self, findings)

    def run(self) -> None:
        """All events in order; the chain first, then what the event says."""
        for index, line in enumerate(self.bundle.lines("events.jsonl"), start=1):
            try:
                event = json.loads(line)
                self._chain(event, line)
                self._apply(event)
            except (
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
                IndexError,
                RecursionError,
                OverflowError,
            ) as error:
                self._broken(index, line, error)
            self.findings.count("events")
        for number, row in self.open.items():
            self._close(number, row | {"state": "cancelled"} if self.state in _ENDED else row)
        self.measurements.rest()

    def _broken(self, index: int, line: bytes, error: Exception) -> None:
        number = None
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            number = json.loads(line)["trial"]
        what = f"event {index} cannot be followed: {type(error).__name__} {str(error)[:100]}"
        self.findings.fail("events.jsonl", what, number if type(number) is int else None)

    def _chain(self, event: Row, line: bytes) -> None:
        trial = event["trial"] if type(event["trial"]) is int else None
        if dumps(event).encode() != line:
            self.findings.fail("events.jsonl", f"event {event['seq']} is not canonical JSON", trial)
        if event["seq"] != self.seq + 1:
            self.findings.fail("events.jsonl", f"event {self.seq + 1} is expected, {event['seq']} is there", trial)
        if event["previous"] != self.head:
            self.findings.fail("events.jsonl", f"event {event['seq']} does not follow the one before it", trial)
        if event_hash(event) != event["sha256"]:
            self.findings.fail("events.jsonl", f"event {event['seq']} does not have its hash", trial)
        self.seq, self.head = event["seq"], event["sha256"]

    def _apply(self, event: Row) -> None:
        kind, payload = event["kind"], event["body"]
        if kind == "campaign_launched":
            self._once()
            self.launched = {name: _BLANK[name] for name in event.get("withheld", {}) if name in _BLANK} | payload
            self.state, self.state_reason = payload["state"], payload["state_reason"]
        elif kind == "trace_imported":
            self._once()
            spec = payload["spec"]
            self.launched = payload | {name: spec[name] for name in ("direction", "score_name")}
            self.state, self.state_reason, self.released = "finished", "imported: a released run", True
        elif kind == "trial_imported":
            self._released(event)
        elif kind == "campaign_state":
            if payload["from"] != self.state:
                self.findings.fail("events.jsonl", f"event {event['seq']}: was {self.state}, not {payload['from']}")
            self.state = payload["to"]
            self.state_reason = _BLANK["reason"] if "reason" in event.get("withheld", {}) else payload["reason"]
        elif kind == "trial_submitted":
            self._submitted(event)
        elif kind in ("trial_started", "trial_retried", "trial_finished"):
            number = self._number(event)
            if kind == "trial_retried" and payload["purpose"] != "trial":
                return  # another measurement of a trial that is judged already
            row = self.open[number]
            if row["state"] != ("queued" if kind == "trial_started" else "running"):
                self.findings.fail("events.jsonl", f"event {event['seq']}: {kind} of a trial {row['state']}", number)
            row = self.open[number] = fold(row, event, self.withheld)
            if kind == "trial_finished":
                self._finished(event, row)
        elif kind in Verified.KINDS | Approvals.KINDS | {"trial_remeasured", "logs_removed"}:
            self._decided(event)
            return
        if "measurement" in payload and kind != "trial_finished":
            self.measurements.take(self._number(event), payload)

    def _decided(self, event: Row) -> None:
        """What a test on fresh seeds or a person says, what somebody had measured again, and which logs are gone."""
        if event["kind"] == "logs_removed":
            for sha256 in event["body"]["logs"]:
                self.removed.add(bytes.fromhex(sha256))
        elif event["kind"] == "trial_remeasured":
            number, payload = self._number(event), event["body"]
            self.judged(number, payload, self.measurements.take(number, payload))
        elif event["kind"] in Verified.KINDS:
            self.verified.apply(event["kind"], self._number(event), event["body"])
        else:
            self.approvals.apply(event, None if event["trial"] is None else self._number(event))

    def _once(self) -> None:
        if self.launched:
            raise ValueError("a second launch")

    def _released(self, event: Row) -> None:
        """A row of a released run: nobody measured it here; its label is what that run says, its best follows."""
        number, payload = self._number(event), event["body"]
        if number <= self.last_number:
            self.findings.fail("events.jsonl", f"trial {number} comes after {self.last_number}", number)
        self.last_number, self.submitted = number, self.submitted + 1
        label, score = payload["label"], payload["score"]
        self.findings.count("labels taken as recorded")
        self.trials += label != "baseline"
        self.keeps += label == "keep"
        if score is not None and (label == "baseline" or (label == "keep" and self._expected(score) == "keep")):
            self.best = (number, score)
            self.frontier.append((number, score))
        self.rows.put(
            number,
            bytes.fromhex(payload["row"]),
            bytes(32),
            math.nan if score is None else score,
            True,
            _STANDINGS.index(label),
        )

    @staticmethod
    def _number(event: Row) -> int:
        number = event["body"]["number"]
        if type(number) is not int or number != event["trial"]:
            raise ValueError("the event and its payload name different trials")
        return number

    def _submitted(self, event: Row) -> None:
        number, payload = self._number(event), event["body"]
        if number != self.last_number + 1:
            self.findings.fail("events.jsonl", f"trial {self.last_number + 1} is expected, {number} is there", number)
        self.last_number, self.submitted = number, self.submitted + 1
        parent = payload["parent"]
        if parent is not None:
            found = self.rows.get(parent) if 0 <= parent < number else None
            source = self.open[parent]["source"] if parent in self.open else found and found[1].hex()
            if source != payload["parent_source"]:
                self.findings.fail("events.jsonl", "its parent has another source than it says", number)
        self.approvals.submitted(number, parent)
        self.open[number] = fold({}, event, self.withheld)

    def stand(self, number: int, standing: str) -> None:
        """A provisional trial counts as something else from now on."""
        there = self.rows.get(number)
        if there is None or there[4] != PROVISIONAL:
            self.findings.fail("events.jsonl", "is decided, and was not provisional", number)
        else:
            self.rows.put(number, *there[:4], _STANDINGS.index(standing))

    def better(self, score: float) -> bool:
        """Whether a score is strictly better than the best."""
        if self.best is None:
            return True
        return score < self.best[1] if self.launched["direction"] == "lower" else score > self.best[1]

    def judged(self, number: int, payload: Row, record: Row | None) -> None:
        """The label that an event gives a measurement against the one that it deserves."""
        label, score = payload["label"], payload["score"]
        try:
            judged = None if record is None else judge(self.launched["spec"], record)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            what = f"its measurement lacks what the rules ask for: {type(error).__name__} {str(error)[:60]}"
            self.findings.fail("measurements.jsonl", what, number)
            return
        if judged is None:
            self.findings.count("labels taken as recorded")
            return
        self.findings.count("labels derived from measurements")
        valid = label in SCORED or label == VALID
        if ((VALID, score) if valid else (label, None)) != judged or (not valid and score is not None):
            what = f"recorded as {label} ({score}), its measurement gives {judged[0]} ({judged[1]})"
            self.findings.fail("trials.jsonl", what, number)

    def _finished(self, event: Row, row: Row) -> None:
        number, payload = row["number"], event["body"]
        del self.open[number]
        record = self.measurements.take(number, payload) if payload["measurement"] else None
        self.judged(number, payload, record)
        self._rule(number, payload)
        self._close(number, row)

    def _rule(self, number: int, payload: Row) -> None:
        label, score = payload["label"], payload["score"]
        if label not in ("baseline", "harness_abort"):
            self.trials += 1
        if label not in SCORED:
            if label not in FAILED and label != "harness_abort":
                self.findings.fail("trials.jsonl", f"the label {label!r} is unknown", number)
            return
        if type(score) not in (int, float) or not math.isfinite(score):
            raise ValueError(f"the score is {score!r}")
        expected = self._expected(score)
        if label != expected:
            best = "" if self.best is None else f", the best was {self.best[1]} of trial {self.best[0]}"
            self.findings.fail("trials.jsonl", f"recorded as {label} with {score}, expected {expected}{best}", number)
        self._deltas(number, payload)
        if label in ("baseline", "keep"):
            self.crown(number, score, label)

    def crown(self, number: int, score: float, label: str) -> None:
        """The best from now on."""
        self.keeps += label == "keep"
        self.best = (number, score)
        self.frontier.append((number, score))

    def _expected(self, score: float) -> str:
        if self.best is None:
            return "baseline"
        if self.launched["keep_rule"] == "verified":
            return self.verified.expected(score)
        if not self.better(score):
            return "discard"
        return "provisional" if self.approvals.keeps else "keep"

    def _deltas(self, number: int, payload: Row) -> None:
        if payload["label"] == "baseline" or self.best is None:
            return
        if payload["delta_vs_best"] != payload["score"] - self.best[1]:
            self.findings.fail("trials.jsonl", "its delta_vs_best does not follow from the scores", number)

    def _close(self, number: int, row: Row) -> None:
        score = math.nan if row["score"] is None else float(row["score"])
        standing = _STANDINGS.index(row["label"]) if row["label"] in _STANDINGS else 0
        self.rows.put(number, row_digest(row), bytes.fromhex(row["source"]), score, True, standing)


# --- the keep rule ``verified``: a lead is confirmed by a sequential test on fresh seeds ------------------------------


class Verified:
    """The keep rule ``verified``: calibration, confirmations, and what they make of provisional trials."""

    KINDS = frozenset({
        "calibration_measured", "campaign_calibrated", "confirmation_opened", "confirmation_measured",
        "confirmation_looked", "confirmation_closed",
    })  # fmt: skip
    SEEDS, MARGIN, BUDGET, SHARE, FEWEST_SHARES, CANDIDATE_SHARE = 6, 1.25, 0.05, 0.12, 4, 4.0
    SPENDING = (0.01, 0.03, 0.08, 0.15, 0.2, 0.25, 0.28)
    HOPELESS = (0.0, 0.5, 0.8, 1.1, 1.4, 1.7)

    def __init__(self, replay: Replay, findings: Findings) -> None:
        self.replay, self.findings = replay, findings
        self.calibration: list[float] = []
        self.noise: tuple[float, int] | None = None  # sd, degrees of freedom
        self.open: dict[int, Row] = {}
        self.parts: dict[int, float] = {}  # by incumbent: what the last confirmation against it used
        self.closed: dict[tuple[int, int], str] = {}  # by trial and round: hash of what was decided, and why

    def lead(self, score: float, best: float) -> float:
        return best - score if self.replay.launched["direction"] == "lower" else score - best

    def expected(self, score: float) -> str:
        """The label of a valid score beside the best."""
        best = self.replay.best
        if best is None:
            raise ValueError("there is no best yet")
        promising = self.lead(score, best[1]) > self.MARGIN * self._noise()[0]
        return "provisional" if promising else "discard"

    def _noise(self) -> tuple[float, int]:
        if self.noise is None:
            raise ValueError("the campaign is not calibrated yet")
        return self.noise

    def apply(self, kind: str, number: int, payload: Row) -> None:
        """One event about a calibration or a confirmation."""
        if kind == "calibration_measured":
            self._measured(number, payload)
            if payload["label"] == VALID:
                self.calibration.append(payload["score"])
        elif kind == "campaign_calibrated":
            self._calibrated(payload)
        elif kind == "confirmation_opened":
            self._opened(number, payload)
        elif kind == "confirmation_measured":
            self._measured(number, payload)
            arms = self.open.get(payload["candidate"], {"arms": {}})["arms"]
            arms.setdefault(payload["seed"], {})[number] = payload
        elif kind == "confirmation_looked":
            self._looked(number, payload)
        elif kind == "confirmation_closed":
            self._closed(number, payload, self.open.pop(number))

    def _measured(self, number: int, payload: Row) -> None:
        self.replay.judged(number, payload, self.replay.measurements.take(number, payload))

    def _fail(self, number: int, what: str) -> None:
        self.findings.fail("events.jsonl", what, number)

    def _calibrated(self, payload: Row) -> None:
        best, scores = self.replay.best, payload["scores"]
        if best is None or sorted(scores) != sorted([best[1], *self.calibration]) or len(scores) < self.SEEDS:
            self._fail(0, "the calibration names other scores than were measured")
        mean, sd = statistics.fmean(scores), statistics.stdev(scores)
        if mean != payload["mean"] or not math.isclose(sd, payload["noise_sd"], rel_tol=1e-9):
            self._fail(0, "the noise does not follow from the calibration")
        self.noise = (payload["noise_sd"], len(scores) - 1)
        self.replay.best, self.replay.frontier = (0, mean), [(0, mean)]

    def _opened(self, number: int, payload: Row) -> None:
        incumbent, part = payload["incumbent"], payload["part"]
        share = 1.0 / max(self.FEWEST_SHARES, math.ceil(self.SHARE * self.replay.launched["max_trials"]))
        last = self.parts.get(incumbent)
        if part != (self.BUDGET * share if last is None else last * (1.0 - share)):
            self._fail(number, "its confirmation uses another part of the budget than the rule gives")
        if self.replay.best is None or incumbent != self.replay.best[0]:
            self._fail(number, f"it is compared with trial {incumbent}, which was not the best")
        self.parts[incumbent] = part
        self.open[number] = {"incumbent": incumbent, "part": part, "arms": {}, "looked": 0, "passed": False}

    @staticmethod
    def _pairs(number: int, found: Row) -> dict[int, tuple[float, float]]:
        """By seed: the scores of candidate and incumbent, where both have one."""
        measured: dict[int, tuple[float, float]] = {}
        for seed, arms in found["arms"].items():
            both = (arms.get(number), arms.get(found["incumbent"]))
            if all(arm is not None and arm["label"] == VALID for arm in both):
                mine, theirs = (arm["score"] for arm in both if arm is not None)
                measured[seed] = (mine, theirs)
        return measured

    def _looked(self, number: int, payload: Row) -> None:
        """A look that decided nothing, with the noise of its time."""
        found = self.open[number]
        pairs = list(self._pairs(number, found).values())
        if len(pairs) != payload["pairs"] or self._look(pairs, found["part"]) is not None:
            self._fail(number, "its measurements had decided, and it was measured on")
        found["looked"] = len(pairs)

    def asked(self, number: int, score: float) -> None:
        """The test has confirmed it, and a person is asked."""
        found = self.open[number]
        pairs = list(self._pairs(number, found).values())
        if self._look(pairs, found["part"]) != "confirmed" or score != statistics.fmean(mine for mine, _ in pairs):
            self._fail(number, "a person is asked, its measurements do not confirm it with this score")
        found["looked"], found["passed"] = len(pairs), True

    def _closed(self, number: int, payload: Row, found: Row) -> None:
        measured = self._pairs(number, found)
        pairs = [(mine, theirs) for _, mine, theirs in payload["numbers"]["pairs"]]
        if {seed: (mine, theirs) for seed, mine, theirs in payload["numbers"]["pairs"]} != measured:
            self._fail(number, "its decision names other pairs than were measured")
        self._ruled(number, payload, pairs, found)
        self._pool(pairs)
        sd, df = self._noise()
        if not math.isclose(sd, payload["noise_sd"], rel_tol=1e-9) or df != payload["noise_df"]:
            self._fail(number, "the noise does not follow from its measurements")
        self.noise = (payload["noise_sd"], payload["noise_df"])
        ruling = payload["ruling"]
        self.findings.count("decisions derived from measurements")
        self.closed[number, payload["round"]] = decision_sha256(ruling, payload["numbers"])
        if ruling in ("confirmed", "refuted", "refused"):
            self.replay.stand(number, "keep" if ruling == "confirmed" else "discard")
        if ruling == "confirmed":
            self.replay.crown(number, statistics.fmean(mine for mine, _ in pairs), "keep")

    def _ruled(self, number: int, payload: Row, pairs: list[tuple[float, float]], found: Row) -> None:
        """Whether the ruling follows from the measurements and from what a person said."""
        ruling, fresh = payload["ruling"], len(pairs) - found["looked"]
        told = self._look(pairs, found["part"]) if fresh == 1 else None
        confirmed = found["passed"] or told == "confirmed"
        if fresh > 1 or (ruling in ("confirmed", "refused") and not confirmed):
            self._fail(number, f"recorded as {ruling}, its measurements do not give that")
        overtaken = found["passed"] and self.replay.best is not None and self.replay.best[0] != found["incumbent"]
        if ruling == "refuted" and confirmed and "gate" not in payload["numbers"] and not overtaken:
            self._fail(number, "recorded as refuted, its measurements confirm it")
        self.replay.approvals.ruled(number, ruling)

    def _look(self, pairs: list[tuple[float, float]], part: float) -> str | None:
        (sd, df), n = self._noise(), len(pairs)
        gain = statistics.fmean(self.lead(mine, theirs) for mine, theirs in pairs)
        squares, more = _squares([mine for mine, _ in pairs]) + _squares([theirs for _, theirs in pairs]), 2 * n - 2
        variance = (df * sd**2 + squares) / (df + more)
        if more:
            variance = max(variance, squares / more)
        error, freedom = math.sqrt(2 * variance / n), df + more
        if error == 0.0:
            z = math.copysign(math.inf, gain) if gain else 0.0
        else:
            t = gain / error
            root = math.sqrt(freedom * math.log1p(t * t / freedom))
            z = math.copysign((8 * freedom + 1) / (8 * freedom + 3) * root, t)
        if z >= statistics.NormalDist().inv_cdf(1 - part * self.SPENDING[n - 1]):
            return "confirmed"
        return "refuted" if n >= len(self.SPENDING) or z < self.HOPELESS[n - 1] else None

    def _pool(self, pairs: list[tuple[float, float]]) -> None:
        (sd, df), more = self._noise(), len(pairs) - 1
        if more >= 1:
            mine = min(_squares([mine for mine, _ in pairs]), self.CANDIDATE_SHARE * more * sd**2)
            squares = df * sd**2 + mine + _squares([theirs for _, theirs in pairs])
            self.noise = (math.sqrt(squares / (df + 2 * more)), df + 2 * more)


def decision_sha256(ruling: str, numbers: Row) -> str:
    """SHA-256 (hex) of a decision and the figures behind it."""
    return sha256_of(plain({"ruling": ruling, "numbers": numbers}))


def _squares(values: list[float]) -> float:
    mean = statistics.fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)


class Approvals:
    """Where a person is asked: the questions, the answers, and what follows from them."""

    KINDS = frozenset({"approval_asked", "approval_answered"})

    def __init__(self, replay: Replay, findings: Findings) -> None:
        self.replay, self.findings = replay, findings
        self.asked: dict[int, Row] = {}  # by number: what approvals.jsonl has to say
        self.answers: dict[int, str] = {}  # by trial: the newest answer
        self.approved_trials = 0.0
        self.ended = False

    @property
    def places(self) -> Row:
        found: Row = self.replay.launched.get("checkpoints", {})
        return found

    @property
    def keeps(self) -> bool:
        return bool(self.places.get("keeps"))

    def _fail(self, trial: int | None, what: str) -> None:
        self.findings.fail("events.jsonl", what, trial)

    def apply(self, event: Row, trial: int | None) -> None:
        """One question or one answer; ``trial`` is the one that it is about."""
        payload = event["body"]
        number, subject = payload["approval"], payload["subject"]
        if event["kind"] == "approval_asked":
            self.findings.count("questions to people")
            if number != len(self.asked) or not self.places.get("keeps" if subject == "keep" else subject):
                self._fail(trial, f"question {number} about {subject}: the campaign does not ask that, or not now")
            self._ask(number, subject, trial, payload)
            return
        found = self.asked[number]
        if found["answer"] or (found["subject"], found["trial"]) != (subject, trial):
            self._fail(trial, f"question {number} is answered twice, or was another one")
        found |= {name: payload[name] for name in ("answer", "answered_at")} | {"answered_seq": event["seq"]}
        if "remark" in payload:
            found["remark"] = payload["remark"]
        self._answered(found, event["actor"])

    def _ask(self, number: int, subject: str, trial: int | None, payload: Row) -> None:
        score, used = payload.get("score"), payload.get("used")
        self.asked[number] = {
            "number": number, "subject": subject, "trial": trial, "score": score, "used": used, "answer": "",
            "asked_at": payload["asked_at"], "answered_at": None, "answered_seq": None,
        }  # fmt: skip
        if subject == "trials" and used != self.replay.trials:
            self._fail(trial, f"question {number}: {used} trials are told, {self.replay.trials} were done")
        if subject != "keep" or trial is None:
            return
        self.answers[trial] = ""
        there = self.replay.rows.get(trial)
        if self.replay.launched["keep_rule"] == "verified":
            self.replay.verified.asked(trial, payload["score"])
        elif there is None or there[2] != score:
            self._fail(trial, f"question {number} names another score than was measured")

    def _answered(self, found: Row, actor: str) -> None:
        trial, answer, subject = found["trial"], found["answer"], found["subject"]
        if answer not in ("approved", "refused", "overtaken", "abandoned"):
            self._fail(trial, f"the answer {str(answer)[:20]!r} is unknown")
        if answer in ("approved", "refused") and actor in ("loop", "judge", "breaker"):
            self._fail(trial, f"question {found['number']} was answered by {actor}, which is no person")
        if subject != "keep":
            self.ended = self.ended or answer == "refused"
            if subject == "trials" and answer == "approved":
                self.approved_trials = found["used"]
            return
        self.answers[trial] = answer
        if self.replay.launched["keep_rule"] != "verified" and answer != "abandoned":
            self._strict(trial, answer, found["score"])

    def _strict(self, trial: int, answer: str, score: float) -> None:
        """By the rule ``strict`` the answer itself decides."""
        better = self.replay.better(score)
        if (answer == "approved" and not better) or (answer == "overtaken" and better):
            self._fail(trial, f"is {answer} with {score}, which does not follow from the best of that time")
        self.replay.stand(trial, "keep" if answer == "approved" else "discard")
        if answer == "approved":
            self.replay.crown(trial, score, "keep")

    def ruled(self, trial: int, ruling: str) -> None:
        """By the rule ``verified`` a decision needs the answer."""
        wanted = {"confirmed": "approved", "refused": "refused"}.get(ruling)
        if wanted is not None and (self.keeps or ruling == "refused") and self.answers.get(trial) != wanted:
            self._fail(trial, f"recorded as {ruling}, no person has {wanted} it")

    def submitted(self, number: int, parent: int | None) -> None:
        """Whether a person had to be asked before this trial."""
        if parent is None or not self.places:
            return
        there = self.replay.rows.get(parent)
        if self.keeps and there is not None and (there[4] == PROVISIONAL or self.answers.get(parent) == "refused"):
            self._fail(number, f"is built on trial {parent}, which no person has approved")
        under_way = sum(row["parent"] is not None for row in self.replay.open.values())
        step = self.places.get("trials")
        if self.ended or (step and self.replay.trials + under_way >= self.approved_trials + step):
            self._fail(number, "was submitted after more trials than a person has approved")


class Measurements:
    """measurements.jsonl, in the order in which the events name them; what no event has judged comes last."""

    MEMBER = "measurements.jsonl"

    def __init__(self, bundle: Container, findings: Findings) -> None:
        self._lines = bundle.lines(self.MEMBER)
        self._findings, self._astray = findings, 0

    def take(self, number: int, payload: Row) -> Row | None:
        """The record (what the evaluator saw) that an event names; None when it is not the next one."""
        if self._astray > 5:  # a line is missing: all others would be told, too
            return None
        line = next(self._lines, None)
        row = {} if line is None else self._row(line, number)
        if row.get("trial") != number or row.get("sha256") != payload["measurement"]:
            self._findings.fail(self.MEMBER, "the measurement that its event names is not the next one", number)
            self._astray += 1
            return None
        self._astray = 0
        if payload.get("measured_at", row["created_at"]) != row["created_at"]:
            self._findings.fail(self.MEMBER, "was measured at another time than its event says", number)
        body: Row = row["body"]
        return body

    def rest(self) -> None:
        """Those that were made and never judged, because the campaign ended or was exported before."""
        for line in self._lines:
            row = self._row(line, None)
            if not row:
                continue
            self._findings.count("measurements not judged")
            if row["judged"]:
                self._findings.fail(self.MEMBER, "no event names this measurement, which was judged", row["trial"])

    def _row(self, line: bytes, expected: int | None) -> Row:
        self._findings.count("measurements")
        try:
            row: Row = json.loads(line)
            number, body = row["trial"], row["body"]
            if sha256_of(body) != row["sha256"]:
                self._findings.fail(self.MEMBER, "the measurement does not have its hash", number)
            named = {name: (row[name], body[name]) for name in ("status", "score", "seed", "split") if name in body}
            for name, (said, measured) in named.items():
                if said != measured:
                    self._findings.fail(self.MEMBER, f"{name} is {said}, its measurement says {measured}", number)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._findings.fail(self.MEMBER, f"a line cannot be read: {type(error).__name__} {error}", expected)
            return {}
        return row


# --- what the tables and the released layout say, against the replay --------------------------------------------------


class Tables:
    """trials.jsonl with results.tsv beside it, campaign.json, frontier.jsonl, best.json."""

    def __init__(self, bundle: Container, findings: Findings, replay: Replay) -> None:
        self.bundle, self.findings, self.replay = bundle, findings, replay
        self.shapes = Table("<32sq")  # digest of the trial's line in tree.tsv without its path, and its parent

    def run(self) -> None:
        for member, check in (
            ("trials.jsonl", self._trials),
            ("tree.tsv", self._tree),
            ("confirmations.jsonl", self._confirmations),
            ("approvals.jsonl", self._approvals),
            ("campaign.json", self._campaign),
            ("frontier.jsonl", self._frontier),
            ("best.json", self._best),
        ):
            try:
                check()
            except BadBundle as error:
                self.findings.fail(member, str(error))
            except (*UNREADABLE, OSError) as error:
                self.findings.fail(member, f"cannot be read: {type(error).__name__} {str(error)[:100]}")

    def _trials(self) -> None:
        results = self._results()
        wrong: dict[int, Row] = {}
        before = -1
        for line in self.bundle.lines("trials.jsonl"):
            self.findings.count("trials")
            try:
                row = json.loads(line)
                number = row["number"]
                there = self.replay.rows.get(number)
                if number <= before or there is None or not there[3] or row_digest(row) != there[0]:
                    wrong[number] = row
                elif row["standing"] != _STANDINGS[there[4]]:
                    self.findings.fail("trials.jsonl", "its standing is not that of its label and decision", number)
                before = number
                self.shapes.put(number, _shape(row), -1 if row["parent"] is None else row["parent"])
                if row["state"] == "finished":
                    self._result(next(results, None), row)
            except (ValueError, KeyError, TypeError, RecursionError, struct.error, OSError, OverflowError) as error:
                self.findings.fail("trials.jsonl", f"cannot be read: {type(error).__name__}", before + 1)
            if len(wrong) > MOST_FAILURES:
                break
        else:
            rows = self.findings.checked.get("trials", 0)
            if rows != self.replay.submitted:
                what = f"{rows} trials, {self.replay.submitted} were submitted"
                self.findings.fail("trials.jsonl", what, min(before + 1, self.replay.last_number))
            if next(results, None) is not None:
                self.findings.fail("results.tsv", "has more rows than there are finished trials")
        self._explain(wrong)

    def _tree(self) -> None:
        """Every trial once, after its parent, siblings by number; the path names the nearest ancestors."""
        lines = self.bundle.lines("tree.tsv")
        if next(lines, b"").decode().split("\t") != [*TREE[:6], self.replay.launched["score_name"], *TREE[6:]]:
            self.findings.fail("tree.tsv", "has other columns")
        above, newest, count = list[int](), [-1], 0
        for count, line in enumerate(lines, start=1):
            cells = line.decode("utf-8", "replace").split("\t")
            number, path = int(cells[0]), cells.pop(3)
            there = self.shapes.get(number)
            parent = -1 if there is None else there[1]
            while above and above[-1] != parent:
                above.pop()
                newest.pop()
            placed = newest[-1] < number and (parent < 0) == (not above)
            newest[-1] = number
            above.append(number)
            newest.append(-1)
            names = [*(["..."] if len(above) > PATH_LENGTH else []), *map(exp_id, above[-PATH_LENGTH:])]
            digest = hashlib.sha256("\t".join(cells).encode()).digest()
            if not placed or there is None or there[0] != digest or path != "/".join(names):
                self.findings.fail("tree.tsv", f"line {count + 1} does not follow from the trials", number)
        if count != self.replay.submitted:
            self.findings.fail("tree.tsv", f"has {count} trials, {self.replay.submitted} were submitted")

    def _explain(self, wrong: Mapping[int, Row]) -> None:
        """In which field a row differs from its events: they are folded once more, for these trials alone."""
        told: dict[int, Row] = {}
        if wrong:
            for line in self.bundle.lines("events.jsonl"):
                try:
                    event = json.loads(line)
                    if event["trial"] in wrong:
                        told[event["trial"]] = fold(told.get(event["trial"], {}), event, self.replay.withheld)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue
        for number, row in wrong.items():
            events = told.get(number, {})
            names = [name for name in _BOUND if plain(row.get(name)) != plain(events.get(name))]
            what = f"differs from its events in {', '.join(names[:6]) or 'nothing but its place'}"
            self.findings.fail("trials.jsonl", what, number)

    def _results(self) -> Iterator[Row]:
        lines = self.bundle.lines("results.tsv")
        header = next(lines, b"").decode().split("\t")
        for line in lines:
            yield dict(zip(header, line.decode("utf-8", "replace").split("\t"), strict=False))

    def _result(self, result: Row | None, row: Row) -> None:
        number = row["number"]
        score = "" if row["score"] is None else repr(row["score"])
        expected = {
            "exp_id": exp_id(number),
            "specialist": flat(row["role"]),
            "parent_exp": "" if row["parent"] is None else exp_id(row["parent"]),
            "hypothesis": flat(row["hypothesis"]),
            "status": row["standing"],
            self.replay.launched["score_name"]: score,
        }
        if result is None:
            self.findings.fail("results.tsv", "has no row for it", number)
            return
        for name, value in expected.items():
            if result.get(name) != value:
                self.findings.fail("results.tsv", f"{name} is {result.get(name, 'missing')[:60]!r}", number)

    def _confirmations(self) -> None:
        left = dict(self.replay.verified.closed)
        for line in self.bundle.lines("confirmations.jsonl"):
            row = json.loads(line)
            said = decision_sha256(row["ruling"], row["numbers"]) if row["ruling"] else None
            if left.pop((row["trial"], row["round"]), None) != said:
                what = f"round {row['round']} does not follow from its events"
                self.findings.fail("confirmations.jsonl", what, row["trial"])
        for number, turn in left:
            self.findings.fail("confirmations.jsonl", f"round {turn} is missing", number)

    def _approvals(self) -> None:
        left = dict(self.replay.approvals.asked)
        if not left and "approvals.jsonl" not in self.bundle.by_name:
            return  # written before anybody could be asked
        for line in self.bundle.lines("approvals.jsonl"):
            row = json.loads(line)
            said = left.pop(row["number"], {})
            if not said or any(plain(row[name]) != plain(value) for name, value in said.items()):
                what = f"question {row['number']} does not follow from its events"
                self.findings.fail("approvals.jsonl", what, row["trial"])
        for number in left:
            self.findings.fail("approvals.jsonl", f"question {number} is missing")

    def _campaign(self) -> None:
        found, replay = json.loads(self.bundle.read("campaign.json")), self.replay
        best = replay.best
        plan = {name for name in replay.launched if name in found}
        if missing := sorted(set(() if replay.released else _PLAN) - plan):
            raise ValueError(f"the launch or the row has no {missing[0]}")
        derived: Row = {name: replay.launched[name] for name in plan} | {
            "state": replay.state,
            "state_reason": replay.state_reason,
            "last_seq": replay.seq,
            "head_sha256": replay.head,
            "last_number": replay.last_number,
            "trial_count": replay.trials,
            "keep_count": replay.keeps,
            "start_score": replay.frontier[0][1] if replay.frontier else None,
            "best_score": None if best is None else best[1],
            "best_trial": None if best is None else best[0],
        }
        for name, value in derived.items():
            if plain(found.get(name)) != plain(value):
                number = found.get("best_trial") if name.startswith("best") else None
                self.findings.fail("campaign.json", f"{name} does not follow from the events", number)
        if sha256_of(replay.launched["spec"]) != found["spec_sha256"]:
            self.findings.fail("campaign.json", "the specification does not have its hash")

    def _frontier(self) -> None:
        steps = self.replay.frontier
        count = 0
        for count, line in enumerate(self.bundle.lines("frontier.jsonl"), start=1):
            row = json.loads(line)
            expected = steps[count - 1] if count <= len(steps) else None
            if (row["trial"], row["score"]) != expected or row["number"] != row["trial"]:
                self.findings.fail("frontier.jsonl", f"step {count} does not follow from the trials", row["trial"])
        if count < len(steps):
            self.findings.fail("frontier.jsonl", "a step is missing", steps[count][0])
        self.findings.count("frontier steps", count)

    def _best(self) -> None:
        found, best = json.loads(self.bundle.read("best.json")), self.replay.best
        expected: Row = {}
        if best is not None:
            expected = {"exp_id": exp_id(best[0]), self.replay.launched["score_name"]: best[1]}
        if {name: found.get(name) for name in expected} != expected or bool(found) != bool(expected):
            what = f"names {str(found.get('exp_id'))[:20]}, the best is {expected.get('exp_id')}"
            self.findings.fail("best.json", what, None if best is None else best[0])


TREE = ("exp_id", "parent_exp", "depth", "path", "specialist", "status", "delta_vs_best", "hypothesis")
PATH_LENGTH = 64


def _shape(row: Row) -> bytes:
    """Digest of a trial's line in tree.tsv without its path."""
    delta = row["delta_vs_best"] if row["standing"] in SCORED else None
    cells = (
        exp_id(row["number"]),
        "" if row["parent"] is None else exp_id(row["parent"]),
        str(row["depth"]),
        flat(row["role"]),
        row["standing"],
        "" if row["score"] is None else repr(row["score"]),
        "" if delta is None else f"{delta:+.6f}",
        flat(row["hypothesis"]),
    )
    return hashlib.sha256("\t".join(cells).encode()).digest()


def exp_id(number: int) -> str:
    """A trial's number as the released layout writes it."""
    return f"{number:03d}"


def flat(text: str) -> str:
    """Text as it stands in one cell of a table."""
    return " ".join(text.split())


# --- blobs ------------------------------------------------------------------------------------------------------------

#: The blob without bytes: bundles need not store it. It also stands where a row names one that is withheld.
NOTHING = hashlib.sha256(b"").hexdigest()


class Blobs:
    """Shards of blobs in the order of their hashes, and who refers to them."""

    def __init__(self, bundle: Container, findings: Findings, withheld: Withheld, removed: Sorter) -> None:
        self.bundle, self.findings, self.withheld, self.removed = bundle, findings, withheld, removed
        self.shards = sorted(
            name[:-4] for name in bundle.by_name if name.startswith("blobs/") and name.endswith(".idx")
        )
        self.schema: Row = json.loads(bundle.read("schema.json"))["tables"]
        trials = self.schema["trials.jsonl"]
        if not {"source", "diff", "lineage_view", "log"} <= set(trials["blobs"]) or "source" not in trials["trees"]:
            raise ValueError("the table of trials names no sources")

    def run(self) -> None:
        named, trees = Sorter(), Sorter()
        for member, table in self.schema.items():
            for _, sha256, is_tree in self._references(member, table):
                (trees if is_tree else named).add(bytes.fromhex(sha256))
        for sha256 in released_files(json.loads(self.bundle.read("campaign.json"))["spec"]):
            named.add(bytes.fromhex(sha256))
        bad: set[str] = set()
        there = tempfile.TemporaryFile()
        wanted = iter(trees)
        tree = next(wanted, None)
        for shard, sha256, data in self._stored():
            digest = bytes.fromhex(sha256)
            there.write(digest)
            while tree is not None and tree < digest:
                named.add(tree)
                tree = next(wanted, None)
            if hashlib.sha256(data).digest() != digest:
                self.findings.fail(f"{shard}.bin", f"blob {sha256[:12]} does not have its hash")
                bad.add(sha256)
            elif tree == digest:
                for file in self._files(data):
                    named.add(bytes.fromhex(file))
        for left in (tree, *wanted) if tree is not None else ():
            named.add(left)
        there.seek(0)
        bad |= self._compare(iter(named), iter(trees), Sorter._read(there))
        self._absent(bad)
        self._blame(bad - self.withheld.absent.keys())

    def _absent(self, missing: set[str]) -> None:
        """What is absent by retention: logs alone, each named by an event that says so."""
        told = {digest.hex() for digest in self.removed if digest.hex() in self.withheld.absent}
        for sha256 in sorted(self.withheld.absent):
            if sha256 not in told:
                self.findings.fail("redactions.json", f"blob {sha256[:12]} is said to be removed, no event says so")
            elif sha256 not in missing:
                self.findings.fail("redactions.json", f"blob {sha256[:12]} is said to be removed, and is there")
            else:
                self.findings.count("logs absent by retention")

    def _references(self, member: str, table: Row) -> Iterator[tuple[int | None, str, bool]]:
        """(trial, hash, whether of a tree) of every blob that a row names."""
        for line in self.bundle.lines(member) if table["blobs"] else ():
            try:
                row = json.loads(line)
                number = row["number"] if member == "trials.jsonl" else row.get("trial")
                named = [(name, row[name]) for name in table["blobs"] if row[name] is not None]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # told elsewhere
            for name, sha256 in named:
                if is_sha256(sha256):
                    if name != "log" and sha256 in self.withheld.absent:
                        self.findings.fail(member, f"{name} is said to be removed, only logs may be", number)
                    yield number, sha256, name in table["trees"]
                else:
                    self.findings.fail(member, f"{name} is no hash", number)

    def _stored(self) -> Iterator[tuple[str, str, bytes]]:
        last = ""
        for shard in self.shards:
            at = 0
            with self.bundle.open(f"{shard}.bin") as stream:
                for line in self.bundle.lines(f"{shard}.idx"):
                    sha256, offset, size = self._entry(shard, line)
                    if not sha256:
                        return
                    if sha256 <= last or offset != at:
                        self.findings.fail(f"{shard}.idx", f"blob {sha256[:12]} is out of order")
                    data = stream.read(size)
                    self.findings.count("blobs")
                    yield shard, sha256, data
                    last, at = sha256, at + size
                if stream.read(1):
                    self.findings.fail(f"{shard}.bin", "has bytes that its index does not name")

    def _entry(self, shard: str, line: bytes) -> tuple[str, int, int]:
        parts = line.decode("ascii", "replace").split(" ")
        if (
            len(parts) == 3
            and is_sha256(parts[0])
            and all(part.isdigit() and len(part) < 16 for part in parts[1:])
            and int(parts[2]) <= MOST_SMALL
        ):
            return parts[0], int(parts[1]), int(parts[2])
        self.findings.fail(f"{shard}.idx", "a line cannot be read, expected hash, offset and size")
        return "", 0, 0

    def _files(self, tree: bytes) -> Iterator[str]:
        """Hashes of a source tree's files, as far as the bundle has them."""
        try:
            files = json.loads(tree)["files"]
            for sha256 in files.values():
                if not is_sha256(sha256):
                    raise ValueError("no hash")
                if sha256 in self.withheld.absent:
                    self.findings.fail("blobs", f"a source's file {sha256[:12]} is said to be removed")
                if "sources" not in self.withheld.profiles and sha256 not in self.withheld.blobs:
                    yield sha256
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.findings.fail("blobs", "a source tree cannot be read")

    def _compare(self, named: Iterator[bytes], trees: Iterator[bytes], there: Iterator[bytes]) -> set[str]:
        """Hashes that somebody names against those that are stored; returns the missing ones."""
        missing: set[str] = set()
        expected: Iterator[bytes] = _unique(heapq.merge(named, trees))
        want = next(expected, None)
        for digest in there:
            while want is not None and want < digest:
                missing.add(want.hex())
                want = next(expected, None)
            if want == digest:
                want = next(expected, None)
            else:
                self.findings.fail("blobs", f"blob {digest.hex()[:12]} is named by nobody")
        missing |= {one.hex() for one in ([] if want is None else [want, *expected])}
        return missing - {NOTHING}

    def _blame(self, bad: set[str]) -> None:
        """Which trials a wrong or missing blob belongs to."""
        if not bad:
            return
        trees: dict[str, set[str]] = {}
        for _, sha256, data in self._stored():
            if data.startswith(b'{"files":{') and any(one.encode() in data for one in bad):
                trees[sha256] = {one for one in bad if one.encode() in data}
        blamed: set[str] = set()
        for member, table in self.schema.items():
            for number, sha256, _ in self._references(member, table):
                for one in ({sha256} & bad) | trees.get(sha256, set()):
                    self.findings.fail(member, f"blob {one[:12]} is missing or has other bytes", number)
                    blamed.add(one)
        for one in bad - blamed:
            self.findings.fail("blobs", f"blob {one[:12]} is missing")


def released_files(spec: Row) -> list[str]:
    """Hashes of the files that a released run came in; none for a campaign that ran here."""
    return [file["sha256"] for _, file in sorted(spec.get("trace", {}).get("files", {}).items())]


def _unique(digests: Iterable[bytes]) -> Iterator[bytes]:
    last = b""
    for digest in digests:
        if digest != last:
            yield digest
        last = digest


_SHA256 = re.compile("[0-9a-f]{64}")


def is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


# --- container, manifest, signature -----------------------------------------------------------------------------------

MANIFEST, HEAD = "manifest-sha256.txt", "head.json"


def check_container(bundle: Container, findings: Findings) -> dict[str, str]:
    """Every byte of the file is a member's or follows from them; returns SHA-256 (hex) by name, in order."""
    digests: dict[str, str] = {}
    directory, at = [], 0
    if len(bundle.members) > MOST_MEMBERS:
        raise BadBundle(f"{bundle.path}: {len(bundle.members)} members, expected {MOST_MEMBERS} at most")
    descriptor = bundle.stream.fileno()
    names = [member.filename for member in bundle.members]
    for name in names:
        if why := check_name(name):
            findings.fail(name[:80], f"has {why} as its name")
    for name in {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ():
        findings.fail(name[:80], "is there twice")
    for member in bundle.members:
        name = member.filename
        if name in digests:
            continue
        try:
            stream = bundle.open(name)
        except BadBundle as error:
            findings.fail(name, str(error))
            continue
        digest, crc, size = hashlib.sha256(), 0, 0
        while block := stream.read(CHUNK):
            digest.update(block)
            crc, size = zlib.crc32(block, crc), size + len(block)
        digests[name] = digest.hexdigest()
        header = local_header(name, crc, size)
        if member.header_offset != at or os.pread(descriptor, len(header), at) != header or size != member.file_size:
            findings.fail(name, "does not stand in the container as it should")
        directory.append(directory_entry(name, crc, size, at))
        at += len(header) + size
    tail = b"".join(directory)
    tail += directory_end(len(directory), at, len(tail))
    if os.fstat(descriptor).st_size != at + len(tail) or os.pread(descriptor, len(tail) + 1, at) != tail:
        findings.fail("container", "the directory at the end is not that of these members")
    findings.count("members", len(digests))
    findings.count("bytes", os.fstat(descriptor).st_size)
    return digests


def check_manifest(bundle: Container, digests: dict[str, str], findings: Findings) -> None:
    listed = [(name, digest) for name, digest in digests.items() if name not in (MANIFEST, HEAD)]
    expected = "".join(f"{digest}  {name}\n" for name, digest in listed)
    said = bundle.read(MANIFEST).decode("utf-8", "replace")
    if said == expected:
        return
    lines = {name: digest for digest, _, name in (line.partition("  ") for line in said.splitlines())}
    for name, digest in listed:
        if lines.get(name) != digest:
            findings.fail(name, "does not have the hash that the manifest gives" if name in lines else "is not listed")
    for name in lines:
        if name not in digests:
            findings.fail(name[:80], "is listed in the manifest, and missing")
    findings.fail(MANIFEST, "is not the list of the members in their order")


def head_statement(head: Row) -> bytes:
    """What the campaign's own site signs."""
    names = ("format", "campaign", "seq", "sha256", "spec_sha256")
    return dumps({"statement": "head"} | {name: head[name] for name in names}).encode()


def manifest_statement(head: Row) -> bytes:
    """What the site that packed the bundle signs."""
    names = ("format", "sha256", "manifest_sha256", "redacted")
    return dumps({"statement": "manifest"} | {name: head[name] for name in names}).encode()


def check_head(bundle: Container, digests: dict[str, str], keys: Sequence[str], findings: Findings) -> Row:
    """The signed head. keys: public keys of those whose signatures are accepted, empty for anybody's."""
    text = bundle.read(HEAD)
    head: Row = json.loads(text)
    if dumps(head).encode() + b"\n" != text:
        findings.fail(HEAD, "is not canonical JSON")
    if head["format"] != FORMAT:
        findings.fail(HEAD, f"the format is {head['format']!r}, expected {FORMAT}")
    if head["manifest_sha256"] != digests.get(MANIFEST):
        findings.fail(HEAD, "names another manifest")
    for what, statement in (("head", head_statement(head)), ("manifest", manifest_statement(head))):
        public, signature = (bytes.fromhex(head[f"{what}_{part}"]) for part in ("key", "signature"))
        if not ed25519_verify(public, statement, signature):
            findings.fail(HEAD, f"the signature under the {what} is not by {head[f'{what}_key']}")
        findings.count("signatures")
    for what in ("head", "manifest") if keys else ():
        if head[f"{what}_key"] not in keys:
            findings.fail(HEAD, f"the {what} is signed by {head[f'{what}_key']}, expected {' or '.join(keys)}")
    extra = set(head) - {
        "format", "campaign", "seq", "sha256", "spec_sha256", "manifest_sha256", "redacted",
        "head_key", "head_signature", "manifest_key", "manifest_signature",
    }  # fmt: skip
    if extra:
        findings.fail(HEAD, f"has {sorted(extra)[0]!r}, which nothing vouches for")
    return head


# --- all of it --------------------------------------------------------------------------------------------------------


def verify(path: Path, keys: Sequence[str] = ()) -> Row:
    """Check a bundle against the keys of signers that are accepted, none for any; returns what ``--json`` prints.

    Raises BadBundle when it is no bundle at all.
    """
    findings, bundle, removed = Findings(), Container(path), Sorter()
    digests = check_container(bundle, findings)
    head: Row = {}

    def signed() -> None:
        head.update(check_head(bundle, digests, keys, findings))

    def replayed() -> None:
        withheld = Withheld(json.loads(bundle.read("redactions.json")))
        if head and withheld.profiles != head["redacted"]:
            findings.fail("redactions.json", "lists other profiles than the head")
        replay = Replay(bundle, findings, withheld, removed)
        replay.run()
        if head and (replay.seq, replay.head) != (head["seq"], head["sha256"]):
            findings.fail("events.jsonl", f"ends with event {replay.seq}, the signed head is event {head['seq']}")
        Tables(bundle, findings, replay).run()

    def stored() -> None:
        Blobs(bundle, findings, Withheld(json.loads(bundle.read("redactions.json"))), removed).run()

    steps: Sequence[tuple[str, Callable[[], None]]] = (
        (MANIFEST, lambda: check_manifest(bundle, digests, findings)),
        (HEAD, signed),
        ("events.jsonl", replayed),
        ("blobs", stored),
    )
    for member, step in steps:
        try:
            step()
        except BadBundle as error:
            findings.fail(member, str(error))
        except UNREADABLE as error:
            findings.fail(member, f"cannot be read: {type(error).__name__} {str(error)[:100]}")
    return {
        "ok": not findings.failures,
        "signer": head.get("head_key", "unknown") if keys else "unpinned",
        "key": head.get("head_key", ""),
        "packed_by": head.get("manifest_key", ""),
        "campaign": head.get("campaign", ""),
        "head": {"seq": head.get("seq"), "sha256": head.get("sha256")},
        "redacted": head.get("redacted", []),
        "checked": findings.checked,
        "failures": findings.failures,
        "more_failures": findings.more,
    }


def public_key(text: str) -> str:
    """``--key``: 64 hex digits, or a file that holds them. Raises ArgumentTypeError, which is wrong usage."""
    try:
        found = Path(text).read_text(encoding="ascii").strip() if len(text) != 64 else text
    except (OSError, ValueError):
        found = ""
    if not is_sha256(found.lower()):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no key, expected 64 hex digits or a file with them")
    return found.lower()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verify an audit bundle.")
    parser.add_argument("bundle", type=Path)
    pin = "public key of a signer who is accepted; give it again for who packed a redacted bundle"
    parser.add_argument("--key", type=public_key, action="append", default=[], metavar="PUBLIC", help=pin)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = parser.parse_args(arguments)
    try:
        report = verify(chosen.bundle, chosen.key)
    except BadBundle as error:
        if not chosen.json:
            print(f"error: {error}", file=sys.stderr)
            return 1
        failure = {"member": "container", "trial": None, "what": str(error)}
        report = {"ok": False, "signer": "unknown" if chosen.key else "unpinned", "checked": {}, "failures": [failure]}
    if chosen.json:
        print(json.dumps(report))
        return 0 if report["ok"] else 1
    print(f"{'ok' if report['ok'] else 'NOT OK'}: {report['campaign']}, head {report['head']['seq']}")
    print(f"signer: {report['signer']}" + ("" if chosen.key else f" (the bundle says {report['key']})"))
    if report["redacted"]:
        print(f"redacted: {', '.join(report['redacted'])}; packed by {report['packed_by']}")
    print("checked: " + ", ".join(f"{number:,} {name}" for name, number in report["checked"].items()))
    for failure in report["failures"]:
        trial = "" if failure["trial"] is None else f"trial {failure['trial']}: "
        print(f"failure: {failure['member']}: {trial}{failure['what']}")
    if report["more_failures"]:
        print(f"and {report['more_failures']} more failures")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
