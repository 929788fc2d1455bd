"""A bundle comes in: verified first, then written in one transaction, or refused as a whole."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import DataError, IntegrityError, connection, models, transaction
from django.utils.text import slugify

import verify_bundle
from trials.bundles.redaction import NO_BLOB
from trials.bundles.tables import CAMPAIGN_OMITS, JSON_TEXT, Column, Model, Table, key_of, tables
from trials.canonical import dumps
from trials.models import Blob, Campaign, Evaluation, Event, Measurement, Trial
from trials.services import tallies
from trials.services.blobs import bring_back
from trials.services.events import append_site_event
from trials.services.submissions import index_hypotheses
from trials.vocab import SiteEventKind
from verify_bundle import BadBundle, Container

BATCH = 500
BLOB_BYTES = 8 << 20
Report = Callable[[str, int], None]


class Refused(ValueError):
    """The bundle is not taken in; the message is one line: what, where, what was expected."""


@dataclass(frozen=True)
class Taken:
    """What came of an import. twin: slug of a campaign here with the very same head, empty for none."""

    campaign: Campaign
    trials: int
    events: int
    report: dict[str, Any]
    twin: str


def import_bundle(
    path: Path, *, actor: str, keys: Sequence[str] = (), report: Report = lambda name, done: None
) -> Taken:
    """Verify and write a bundle as a closed campaign. keys: public keys of signers that are accepted, empty for any.

    Raises Refused; nothing is written then.
    """
    try:
        verdict = verify_bundle.verify(path, keys)
        if not verdict["ok"]:
            raise Refused(f"{path}: {_first(verdict)}")
        bundle = Container(path)
        with transaction.atomic():
            return _Import(bundle, report, verdict).run(actor)
    except BadBundle as error:
        text = str(error)
        raise Refused(text if str(path) in text else f"{path}: {text}") from error
    except (KeyError, TypeError, AttributeError, FieldDoesNotExist, ValueError, zlib.error) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"{path}: cannot be read as a bundle: {type(error).__name__} {error}") from error
    except (DataError, IntegrityError, ValidationError) as error:
        what = " ".join(str(error).split())[:200]
        raise Refused(f"{path}: a row does not fit this site: {what}") from error


def _first(verdict: Mapping[str, Any]) -> str:
    failures = verdict["failures"]
    trial = "" if failures[0]["trial"] is None else f"trial {failures[0]['trial']}: "
    more = len(failures) - 1 + verdict["more_failures"]
    return f"{failures[0]['member']}: {trial}{failures[0]['what']}" + (f" (and {more} more)" if more else "")


class _Import:
    """One bundle on its way in, inside a transaction."""

    def __init__(self, bundle: Container, report: Report, verdict: dict[str, Any]) -> None:
        self.bundle, self.report, self.verdict = bundle, report, verdict
        self.row: dict[str, Any] = json.loads(bundle.read("campaign.json"))
        self.head: dict[str, Any] = json.loads(bundle.read(verify_bundle.HEAD))
        self.redactions: dict[str, Any] = json.loads(bundle.read("redactions.json"))

    def run(self, actor: str) -> Taken:
        known = {table.member for table in tables()}
        schema = json.loads(self.bundle.read("schema.json"))["tables"]
        if set(schema) != known:
            odd = sorted(set(schema) ^ known)[0]
            raise Refused(f"{self.bundle.path}: {odd}: this site and the bundle do not have the same tables")
        twin = Campaign.objects.filter(head_sha256=self.head["sha256"]).values_list("slug", flat=True).first() or ""
        campaign = self._campaign()
        self._blobs()
        counts = {table.member: self._table(campaign, table) for table in tables()}
        if self.row["best_trial"] is not None:
            campaign.best_trial = Trial.objects.get(campaign=campaign, number=self.row["best_trial"])
            campaign.save(update_fields=["best_trial"])
        tallies.count_all(campaign, 0)
        events = self._events(campaign)
        payload = {
            "campaign": campaign.slug,
            "seq": self.head["seq"],
            "head": self.head["sha256"],
            "manifest": self.head["manifest_sha256"],
            "key": self.head["head_key"],
            "signer": self.verdict["signer"],
        }
        append_site_event(SiteEventKind.IMPORTED, actor, payload)
        return Taken(campaign, counts["trials.jsonl"], events, self.verdict, twin)

    def _campaign(self) -> Campaign:
        values: dict[str, Any] = {}
        for field in Campaign._meta.concrete_fields:
            if field.name not in CAMPAIGN_OMITS:
                values[field.attname] = _value(field, self.row.pop(field.name))
        origin = {
            "slug": self.row.pop("slug"),
            "created_by": self.row.pop("created_by"),
            "head": self.head,
            "redacted": self.redactions["profiles"],
            "withheld_blobs": self.redactions["blobs"],
        }
        if absent := self.redactions.get("absent"):
            origin["absent"] = absent
        if set(self.row) != {"best_trial"}:
            raise Refused(f"{self.bundle.path}: campaign.json: {sorted(self.row)[0]!r} is unknown here")
        return Campaign.objects.create(slug=_free_slug(str(origin["slug"])), bundle=origin, **values)

    def _blobs(self) -> None:
        """Every blob that is not here yet, a few megabytes at a time."""
        waiting: list[Blob] = []
        size = 0
        for done, (sha256, data) in enumerate(self._stored(), start=1):
            waiting.append(Blob(sha256=sha256, size=len(data), data=zlib.compress(data, 6)))
            size += len(data)
            if size >= BLOB_BYTES or len(waiting) >= 4 * BATCH:
                _store(waiting)
                self.report("blobs", done)
                waiting, size = [], 0
        _store(waiting)
        absent: Mapping[str, Mapping[str, Any]] = self.redactions.get("absent", {})
        gone = [
            Blob(sha256=sha256, size=said["size"], data=b"", removed_at=datetime.fromisoformat(said["at"]))
            for sha256, said in absent.items()
        ]
        Blob.objects.bulk_create(gone, ignore_conflicts=True, batch_size=4 * BATCH)

    def _stored(self) -> Iterator[tuple[str, bytes]]:
        names = sorted(name[:-4] for name in self.bundle.by_name if re.fullmatch(r"blobs/\d{4}\.idx", name))
        for shard in names:
            with self.bundle.open(f"{shard}.bin") as stream:
                for line in self.bundle.lines(f"{shard}.idx"):
                    sha256, _, size = line.decode("ascii").split(" ")
                    yield sha256, stream.read(int(size))
        yield NO_BLOB, b""

    def _table(self, campaign: Campaign, table: Table) -> int:
        done = 0
        for rows in _batches(self._lines(table.member)):
            self._insert(campaign, table, rows)
            done += len(rows)
            self.report(table.member, done)
        return done

    def _lines(self, member: str) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(self.bundle.lines(member), start=1):
            row: dict[str, Any] = json.loads(line)
            if dumps(row).encode() != line:
                raise Refused(f"{self.bundle.path}: {member}: line {number} is not canonical JSON")
            yield row

    def _insert(self, campaign: Campaign, table: Table, rows: list[dict[str, Any]]) -> None:
        """Write rows of one table in their order. References become keys of this database, a batch at a time."""
        columns = {column.name: column for column in table.columns}
        keys = _next_keys(table.model, len(rows))
        found = {
            column.name: _keys(campaign, column, [row[column.name] for row in rows])
            for column in table.columns
            if column.target is not None and not column.is_blob
        }
        for column in table.columns:
            if column.target is table.model:  # a parent may come in with its child
                found[column.name] |= {_own_key(table, row): key for row, key in zip(rows, keys, strict=True)}
        orders = _orders(campaign, rows) if table.model is Measurement else {}
        made: list[models.Model] = []
        for row, key in zip(rows, keys, strict=True):
            judged = row.pop("judged", None) if table.model is Measurement else None
            if set(row) != set(columns):
                odd = sorted(set(row) ^ set(columns))[0]
                raise Refused(f"{self.bundle.path}: {table.member}: {odd!r} is unknown here, or missing")
            values: dict[str, Any] = {"pk": key}
            if table.campaign == "campaign":
                values["campaign_id"] = campaign.pk
            for name, column in columns.items():
                said = row[name]
                if name in found:
                    values[column.field.attname] = None if said is None else found[name][_hashable(said)]
                elif (table.model, name) in JSON_TEXT:
                    values[name] = dumps(said)
                else:
                    values[column.field.attname] = _value(column.field, said)
            if judged is not None:
                values["evaluation_id"] = orders[row["trial"], row["purpose"], row["split"], row["seed"]]
            made.append(table.model(**values))
        table.model._default_manager.bulk_create(made)
        if table.model is Trial:
            index_hypotheses([row for row in made if isinstance(row, Trial)])

    def _events(self, campaign: Campaign) -> int:
        done = 0
        for lines in _batches(self._lines("events.jsonl")):
            numbers = [line["trial"] for line in lines if line["trial"] is not None]
            trials = dict(Trial.objects.filter(campaign=campaign, number__in=numbers).values_list("number", "pk"))
            Event.objects.bulk_create(_event(campaign, line, trials) for line in lines)
            done += len(lines)
            self.report("events.jsonl", done)
        return done


def _store(blobs: Sequence[Blob]) -> None:
    """Those that are not here, and the bytes of those that retention has taken away here."""
    Blob.objects.bulk_create(blobs, ignore_conflicts=True)
    names = [blob.sha256 for blob in blobs]
    gone = set(Blob.objects.filter(pk__in=names, removed_at__isnull=False).values_list("pk", flat=True))
    for blob in blobs:
        if blob.sha256 in gone:
            bring_back(blob.sha256, bytes(blob.data))


def _event(campaign: Campaign, line: Mapping[str, Any], trials: Mapping[int, int]) -> Event:
    redaction = {"salts": line["salts"], "withheld": line["withheld"]} if "salts" in line else None
    return Event(
        campaign=campaign,
        seq=line["seq"],
        at=datetime.fromisoformat(line["at"]),
        kind=line["kind"],
        actor=line["actor"],
        trial_id=None if line["trial"] is None else trials[line["trial"]],
        body=dumps(line["body"]),
        salt=line.get("salt", ""),
        redaction=redaction,
        previous_sha256=line["previous"],
        sha256=line["sha256"],
    )


def _free_slug(wanted: str) -> str:
    base = slugify(wanted)[:70] or "imported"
    number, slug = 1, base
    while Campaign.objects.filter(slug=slug).exists():
        number += 1
        slug = f"{base}-{number}"
    return slug


def _value(field: models.Field[Any, Any], said: Any) -> Any:
    """A JSON value as the field's own. Raises ValueError."""
    if said is None:
        return None
    if isinstance(field, models.DateTimeField):
        return datetime.fromisoformat(said)
    if isinstance(field, models.DecimalField):
        return Decimal(said)
    return said


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _next_keys(model: Model, count: int) -> list[int]:
    """Primary keys from the model's own sequence, so that rows of one batch can refer to each other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
            [model._meta.db_table, model._meta.pk.column, count],
        )
        return [key for (key,) in cursor.fetchall()]


def _own_key(table: Table, row: Mapping[str, Any]) -> Any:
    """What names a row of this table in others: the value, or the values in their order."""
    names = [path.partition("__")[0] for path in key_of(table.model)]
    return _hashable([row[name] for name in names] if len(names) > 1 else row[names[0]])


def _hashable(said: Any) -> Any:
    return tuple(said) if isinstance(said, list) else said


def _keys(campaign: Campaign, column: Column, said: Sequence[Any]) -> dict[Any, int]:
    """Names of rows that are here -> primary keys."""
    wanted = {_hashable(one) for one in said if one is not None}
    target = column.target
    if not wanted or target is None:
        return {}
    paths = key_of(target)
    first = {one[0] if isinstance(one, tuple) else one for one in wanted}
    way = next(table.campaign for table in tables() if table.model is target)
    rows = target._default_manager.filter(**{way: campaign, f"{paths[0]}__in": first}).values_list("pk", *paths)
    return {tuple(name) if len(name) > 1 else name[0]: pk for pk, *name in rows}


def _orders(campaign: Campaign, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], int]:
    """The work orders that these measurements answer."""
    numbers = {row["trial"] for row in rows}
    found = Evaluation.objects.filter(campaign=campaign, trial__number__in=numbers)
    named = found.values_list("trial__number", "purpose", "split", "seed", "pk")
    return {tuple(values): pk for *values, pk in named}
