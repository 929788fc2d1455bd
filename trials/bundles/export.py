"""One campaign's record as one file. Everything is streamed from one snapshot of the database; memory stays flat.

Members come in a fixed order: blobs first, because what they withhold decides what rows may name; the manifest and the
signed head last, because they speak of all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import connection, transaction

import verify_bundle
from trials.bundles import blobs, crate, layout, report_page
from trials.bundles.container import Writing, ZipWriter
from trials.bundles.redaction import Redaction, SecretFound, secrets_pattern
from trials.bundles.signing import Signer
from trials.bundles.tables import CHUNK, Table, campaign_row, tables
from trials.canonical import dumps
from trials.models import Campaign, Event, Measurement, Trial
from trials.vocab import EvaluationState, EventKind

VERIFIER = Path(settings.BASE_DIR) / "verify_bundle.py"
Report = Callable[[str, int], None]


class ExportError(RuntimeError):
    """The record cannot be put into a bundle; the message is one line."""


@dataclass
class Export:
    """One bundle under way."""

    campaign: Campaign
    writer: ZipWriter
    redaction: Redaction
    report: Report
    judged: int = 0
    reason_withheld: bool = False

    @contextmanager
    def member(self, name: str) -> Iterator[Writing]:
        self.report(name, 0)
        with self.writer.member(name) as writing:
            yield writing


def export_bundle(
    slug: str, stream: IO[bytes], *, signer: Signer, profiles: list[str], report: Report = lambda name, done: None
) -> dict[str, Any]:
    """Write a campaign's bundle to an empty, seekable stream; returns what ``head.json`` says.

    profiles: redactions beside those that an imported campaign came with. report: called with a member's name and a
    count. Raises Campaign.DoesNotExist, ExportError.
    """
    with _snapshot():
        campaign = Campaign.objects.select_related("created_by", "best_trial").get(slug=slug)
        origin = campaign.bundle or {}
        chosen = [name for name in ("names", "prompts", "sources") if name in {*profiles, *origin.get("redacted", ())}]
        withheld, absent = dict(origin.get("withheld_blobs", {})), dict(origin.get("absent", {}))
        redaction = Redaction(chosen, secrets_pattern(), withheld, absent)
        export = Export(campaign, ZipWriter(stream), redaction, report)
        try:
            return _write(export, signer)
        except SecretFound as error:
            raise ExportError(f"campaign {slug}: {error}") from error
        except blobs.Missing as error:
            raise ExportError(f"campaign {slug}: {error}") from error


@contextmanager
def _snapshot() -> Iterator[None]:
    """All queries see one moment; within a caller's transaction it is the caller's business."""
    outer = connection.in_atomic_block
    with transaction.atomic():
        if not outer:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def _write(export: Export, signer: Signer) -> dict[str, Any]:
    writer, campaign = export.writer, export.campaign
    writer.add("verify_bundle.py", VERIFIER.read_bytes())
    blobs.write(campaign, writer, export.redaction, export.report)
    with export.member("events.jsonl") as writing:
        _events(export, writing)
    row = _campaign(export)
    writer.add("campaign.json", dumps(row).encode() + b"\n")
    writer.add("spec.json", dumps(campaign.spec).encode() + b"\n")
    writer.add("redactions.json", dumps(export.redaction.as_json()).encode() + b"\n")
    writer.add("schema.json", dumps(_schema()).encode() + b"\n")
    for table in tables():
        with export.member(table.member) as writing:
            _table(export, table, writing)
    layout.write(campaign, writer, export.redaction)
    report_page.write(campaign, writer, export.redaction, row)
    crate.write(campaign, writer, row)
    manifest = "".join(f"{member.sha256}  {member.name}\n" for member in writer.members)
    writer.add(verify_bundle.MANIFEST, manifest.encode())
    head = _head(export, writer.members[-1].sha256, signer)
    writer.add(verify_bundle.HEAD, dumps(head).encode() + b"\n")
    writer.close()
    return head


def _events(export: Export, writing: Writing) -> None:
    """The chain, in order. What an import withheld already stays withheld."""
    names = ("seq", "at", "kind", "actor", "trial__number", "body", "previous_sha256", "sha256", "salt", "redaction")
    found = Event.objects.filter(campaign=export.campaign).order_by("seq").values_list(*names)
    for seq, at, kind, actor, trial, body, previous, sha256, salt, redaction in found.iterator(CHUNK):
        if not salt and redaction is None:
            raise ExportError(
                f"campaign {export.campaign.slug}: event {seq} has no salt: it was recorded by a version that "
                "could not withhold anything; launch the campaign anew"
            )
        line = {
            "seq": seq,
            "at": at.isoformat(),
            "kind": kind,
            "actor": actor,
            "trial": trial,
            "previous": previous,
            "sha256": sha256,
        }
        if redaction is None and export.redaction.leaves_event(actor, body):
            # The payload is canonical JSON already, and "body" comes after "actor" and "at" alone.
            head, tail = {"actor": line.pop("actor"), "at": line.pop("at")}, line | {"salt": salt}
            writing.line(f'{dumps(head)[:-1]},"body":{body},{dumps(tail)[1:]}')
        else:
            line = export.redaction.event(line | {"body": json.loads(body)}, salt, redaction)
            writing.line(dumps(line))
        if kind == EventKind.CAMPAIGN_STATE:
            export.reason_withheld = "reason" in line.get("withheld", {})
        if seq % CHUNK == 0:
            export.report("events.jsonl", seq)


def _campaign(export: Export) -> dict[str, Any]:
    row = campaign_row(export.campaign)
    if export.redaction.has("names"):
        row["created_by"] = None
    if export.redaction.has("prompts"):
        row["roles"] = []
    if export.reason_withheld:
        row["state_reason"] = ""
    return row


def _schema() -> dict[str, Any]:
    """Which members are tables, and which of their columns hold hashes of blobs and of source trees."""
    found = {table.member: {"blobs": table.blobs, "trees": table.trees} for table in tables()}
    return {"format": verify_bundle.FORMAT, "tables": found}


def _table(export: Export, table: Table, writing: Writing) -> None:
    if table.model is Measurement:
        rows = _measurements(export, table)
    else:
        rows = table.rows(export.campaign, "number" if table.model is Trial else "pk")
    for done, row in enumerate(rows, start=1):
        writing.line(_line(export.redaction, table, row))
        if done % CHUNK == 0:
            export.report(table.member, done)


def _line(redaction: Redaction, table: Table, row: dict[str, Any]) -> str:
    """A row as it stands in the bundle. Raises SecretFound for a secret in a measurement."""
    if redaction.hides_columns:
        row |= {column.name: redaction.column(column, row[column.name]) for column in table.columns}
    line = dumps(row)
    if not redaction.finds(line):
        return line
    if table.model is Measurement:
        raise SecretFound(f"trial {row['trial']}: a measurement holds what looks like a secret")
    for column in table.columns:
        value = row[column.name]
        if isinstance(value, str | dict | list) and redaction.finds(value):
            row[column.name] = column.blank
    return dumps(row)


def _measurements(export: Export, table: Table) -> Iterator[dict[str, Any]]:
    """In the order in which events name them, so that a verifier reads both side by side; unjudged ones at the end."""
    campaign = export.campaign
    events = Event.objects.filter(campaign=campaign, body__contains='"measurement":"').order_by("seq")
    batch: list[tuple[int, str]] = []
    given: set[int] = set()
    for body in events.values_list("body", flat=True).iterator(CHUNK):
        payload = json.loads(body)
        if isinstance(payload.get("measurement"), str):
            batch.append((payload.get("measured", payload["number"]), payload["measurement"]))
        if len(batch) == CHUNK:
            yield from _named(export, table, batch, given)
            batch = []
    yield from _named(export, table, batch, given)
    judged = Measurement.objects.filter(campaign=campaign, evaluation__state=EvaluationState.JUDGED).count()
    if judged != export.judged:
        raise ExportError(f"campaign {campaign.slug}: {judged} measurements were judged, events name {export.judged}")
    rest = Measurement.objects.filter(campaign=campaign).exclude(evaluation__state=EvaluationState.JUDGED)
    for row in table.read(rest.order_by("pk")):
        yield row | {"judged": False}


def _named(export: Export, table: Table, batch: list[tuple[int, str]], given: set[int]) -> Iterator[dict[str, Any]]:
    """The measurements that these events name. given: rows with twins (same trial, same content) that are out."""
    numbers = {number for number, _ in batch}
    found = Measurement.objects.filter(
        campaign=export.campaign, trial__number__in=numbers, evaluation__state=EvaluationState.JUDGED
    ).order_by("pk")
    rows = list(zip(found.values_list("pk", flat=True), table.read(found), strict=True))
    by_name: dict[tuple[int, str], list[tuple[int, dict[str, Any]]]] = {}
    for pk, row in rows:
        if pk not in given:
            by_name.setdefault((row["trial"], row["sha256"]), []).append((pk, row))
    for name in batch:
        twins = by_name.get(name)
        if not twins:
            raise ExportError(f"trial {name[0]}: the measurement {name[1][:12]} that an event names is not there")
        if len(twins) > 1:
            given.add(twins[0][0])
        export.judged += 1
        yield twins.pop(0)[1] | {"judged": True}


def _head(export: Export, manifest_sha256: str, signer: Signer) -> dict[str, Any]:
    """The signed head. An imported campaign keeps its own site's, and the manifest's signature while it holds."""
    campaign = export.campaign
    origin = campaign.bundle or {}
    head: dict[str, Any] = {
        "format": verify_bundle.FORMAT,
        "campaign": origin.get("slug", campaign.slug),
        "seq": campaign.last_seq,
        "sha256": campaign.head_sha256,
        "spec_sha256": campaign.spec_sha256,
        "manifest_sha256": manifest_sha256,
        "redacted": export.redaction.profiles,
    }
    theirs: dict[str, Any] = origin.get("head", {})
    for what, statement in (
        ("head", verify_bundle.head_statement(head)),
        ("manifest", verify_bundle.manifest_statement(head)),
    ):
        kept = bool(theirs) and (what == "head" or theirs["manifest_sha256"] == manifest_sha256)
        head[f"{what}_key"] = theirs[f"{what}_key"] if kept else signer.public
        head[f"{what}_signature"] = theirs[f"{what}_signature"] if kept else signer.sign(statement)
    return head
