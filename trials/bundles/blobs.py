"""The blobs that a record names, in the order of their hashes, in a bounded number of shards with an index each."""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain

from django.db import connection

import verify_bundle
from trials.bundles.container import ZipWriter
from trials.bundles.redaction import COLUMNS, NO_BLOB, WITHHELD_ALWAYS, Redaction
from trials.bundles.tables import tables
from trials.models import Campaign, Trial

MOST_SHARDS = 400
SHARD_BYTES, SHARD_BLOBS = 16 << 20, 50_000
RECENT = 50_000
BATCH = 2_000
_REFERENCES = 'CREATE TEMPORARY TABLE bundle_blobs (sha256 text COLLATE "C" PRIMARY KEY) ON COMMIT DROP'
_STORED = (
    "SELECT named.sha256, blob.data, blob.size, blob.removed_at FROM bundle_blobs named "
    "LEFT JOIN trials_blob blob ON blob.sha256 = named.sha256 ORDER BY named.sha256"
)


class Missing(RuntimeError):
    """A blob that the record names is not in the database, or is another."""


def write(campaign: Campaign, writer: ZipWriter, redaction: Redaction, report: Callable[[str, int], None]) -> None:
    """All blobs as ``blobs/NNNN.bin`` (bytes one after the other) and ``blobs/NNNN.idx`` (hash, offset, size a line).

    Blobs with a secret are noted in ``redaction`` and left out. Raises Missing.
    """
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bundle_blobs")
        cursor.execute(_REFERENCES)
    _collect(campaign, redaction)
    most_bytes, most_blobs = _shard_size()
    shard, pending = 0, _stored(redaction)
    entry = next(pending, None)
    while entry is not None:
        index: list[str] = []
        at = 0
        with writer.member(f"blobs/{shard:04d}.bin") as writing:
            while entry is not None and (not index or (at < most_bytes and len(index) < most_blobs)):
                sha256, data = entry
                writing.write(data)
                index.append(f"{sha256} {at} {len(data)}")
                at += len(data)
                entry = next(pending, None)
        with writer.member(f"blobs/{shard:04d}.idx") as writing:
            writing.lines(index)
        shard += 1
        report("blobs", shard)


def _collect(campaign: Campaign, redaction: Redaction) -> None:
    """Fill the table of hashes: what columns name, then what source trees list."""
    hidden = {column for profile in redaction.profiles for column in COLUMNS[profile]}
    with connection.cursor() as cursor:
        for table in tables():
            for column in table.columns:
                if not column.is_blob or column.name in hidden:
                    continue
                if column.name == "body" and redaction.has("prompts"):
                    continue
                field = column.paths[0]
                found = table.model._default_manager.filter(**{table.campaign: campaign, f"{field}__isnull": False})
                sql, values = found.order_by().values_list(field).query.sql_with_params()
                cursor.execute(f"INSERT INTO bundle_blobs {sql} ON CONFLICT DO NOTHING", values)
        cursor.execute(
            "INSERT INTO bundle_blobs SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
            [verify_bundle.released_files(campaign.spec)],
        )
    if not redaction.has("sources"):
        _collect_files(campaign)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM bundle_blobs WHERE sha256 = ANY(%s)", [[NO_BLOB, *redaction.blobs]])


def _collect_files(campaign: Campaign) -> None:
    """Files of all source trees. Most are their parent's: what was seen lately is not asked for again."""
    recent: OrderedDict[str, None] = OrderedDict()
    fresh: list[str] = []
    trees = Trial.objects.of(campaign.pk).filter(source__isnull=False).order_by("number")
    for data in trees.values_list("source__data", flat=True).iterator(BATCH):
        for sha256 in json.loads(zlib.decompress(bytes(data)))["files"].values():
            if sha256 in recent:
                recent.move_to_end(sha256)
                continue
            recent[sha256] = None
            if len(recent) > RECENT:
                recent.popitem(last=False)
            fresh.append(sha256)
        if len(fresh) >= BATCH:
            _insert(fresh)
            fresh = []
    _insert(fresh)


def _insert(hashes: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO bundle_blobs SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", [hashes])


def _shard_size() -> tuple[int, int]:
    """Bytes and blobs of a shard: as given, or more where there would be too many shards."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(sum(blob.size), 0) FROM bundle_blobs JOIN trials_blob blob USING (sha256)"
        )
        count, size = cursor.fetchone()
    half = MOST_SHARDS // 2  # either bound may end a shard
    return max(SHARD_BYTES, -(-int(size) // half)), max(SHARD_BLOBS, -(-int(count) // half))


def _stored(redaction: Redaction) -> Iterator[tuple[str, bytes]]:
    """Hash and bytes of every blob that goes into the bundle."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(_STORED)
        for sha256, stored, size, removed_at in chain.from_iterable(iter(lambda: cursor.fetchmany(BATCH), [])):
            if stored is None:
                raise Missing(f"blob {sha256} is not in the database")
            if not stored:
                redaction.absent[sha256] = {"size": size, "at": removed_at.isoformat()}
            if sha256 in redaction.absent:  # also where an imported bundle lacked what is here by another way
                continue
            data = zlib.decompress(bytes(stored))
            if redaction.finds(data):
                redaction.blobs[sha256] = WITHHELD_ALWAYS
                continue
            yield sha256, data
