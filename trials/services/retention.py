"""Old logs give their bytes back. Hashes, rows and everything else stay, and an event names what went.

In two steps, so that nobody who stores the same bytes at that moment loses them: logs are marked, and whoever stores
one from then on brings it back; when every transaction that was under way has ended, those that nobody has named anew
go. The database refuses the removal of whatever is named otherwise than as a log (migration 0023).
"""

from __future__ import annotations

import json
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import connection, models, transaction

from trials import clock
from trials.models import Blob, Campaign, Measurement, Trial
from trials.services.events import append_event
from trials.vocab import EvaluationState, EventKind, TrialState
from verify_bundle import released_files

AT_ONCE = 500
WAIT_SECONDS = 600.0
#: Columns whose payloads may go.
LOGS = frozenset({(Trial, "log"), (Measurement, "log")})

# Every log with bytes. at: when its newest use was; free: every row that names it may do without.
_LOGS = f"""
SELECT log.log_id, log.campaign_id, log.at, log.free, blob.size, octet_length(blob.data)
  FROM (SELECT log_id, min(campaign_id) AS campaign_id, max(at) AS at, bool_and(free) AS free FROM (
    SELECT t.log_id, t.campaign_id, t.finished_at AS at,
           t.state = '{TrialState.FINISHED}' AND c.bundle IS NULL AND t.campaign_id = ANY(%(campaigns)s) AS free
      FROM trials_trial t JOIN trials_campaign c ON c.id = t.campaign_id WHERE t.log_id IS NOT NULL
    UNION ALL
    SELECT m.log_id, m.campaign_id, m.created_at,
           e.state IN ('{EvaluationState.JUDGED}', '{EvaluationState.CANCELLED}') AND c.bundle IS NULL
           AND m.campaign_id = ANY(%(campaigns)s)
      FROM trials_measurement m JOIN trials_evaluation e ON e.id = m.evaluation_id
      JOIN trials_campaign c ON c.id = m.campaign_id WHERE m.log_id IS NOT NULL
  ) AS named GROUP BY log_id) AS log JOIN trials_blob blob ON blob.sha256 = log.log_id
 WHERE octet_length(blob.data) > 0 ORDER BY log.at, log.log_id
"""  # noqa: S608 - words of this program
_NAMED_BY = """
SELECT DISTINCT campaign_id, log_id FROM (
    SELECT campaign_id, log_id FROM trials_trial WHERE log_id = ANY(%(logs)s)
    UNION ALL SELECT campaign_id, log_id FROM trials_measurement WHERE log_id = ANY(%(logs)s)
) AS named ORDER BY campaign_id, log_id
"""
_MARK = "UPDATE trials_blob SET removed_at = %s WHERE sha256 = ANY(%s) AND removed_at IS NULL"
_UNMARK = "UPDATE trials_blob SET removed_at = NULL WHERE sha256 = ANY(%s) AND octet_length(data) > 0"
_REMOVE = """
UPDATE trials_blob SET data = '' WHERE sha256 = ANY(%s) AND removed_at IS NOT NULL AND octet_length(data) > 0
RETURNING sha256
"""
_OPEN = """
SELECT held.virtualtransaction FROM pg_locks held JOIN pg_stat_activity whose USING (pid)
 WHERE held.locktype = 'virtualxid' AND held.pid <> pg_backend_pid() AND whose.datname = current_database()
   AND whose.backend_type IS DISTINCT FROM 'autovacuum worker'
"""


class StillOpen(RuntimeError):
    """A transaction that was under way does not end; what was marked keeps its bytes, and may be done later."""


@dataclass(frozen=True)
class Log:
    """A log that may go. at: its newest use; size: raw bytes; stored: as they lie in the database, compressed."""

    sha256: str
    campaign: int
    at: datetime
    size: int
    stored: int


@dataclass(frozen=True)
class Plan:
    """What would go. named: logs that are old enough, but are also a source, a slice, a transcript; kept, all others
    that have bytes; held: stored bytes of all logs that the rule is about."""

    logs: Sequence[Log]
    named: int
    kept: int
    held: int

    @property
    def stored(self) -> int:
        return sum(log.stored for log in self.logs)


def plan(
    *, older_than: timedelta | None = None, most_bytes: int | None = None, campaign: Campaign | None = None
) -> Plan:
    """What would go: logs whose newest use is older, and the oldest until those left are no more than ``most_bytes``
    stored bytes. Of one campaign, or of all that ran here; logs of imported ones stay. Changes nothing."""
    own = Campaign.objects.filter(bundle__isnull=True)
    chosen = list((own if campaign is None else own.filter(pk=campaign.pk)).values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute(_LOGS, {"campaigns": chosen})
        found = cursor.fetchall()
    free = [Log(sha256, pk, at, size, stored) for sha256, pk, at, ok, size, stored in found if ok]
    held = sum(log.stored for log in free)
    wanted = list(_chosen(free, older_than, most_bytes, held))
    named = _named_otherwise({log.sha256 for log in wanted})
    going = [log for log in wanted if log.sha256 not in named]
    return Plan(going, len(named), len(found) - len(wanted), held)


def _chosen(logs: Sequence[Log], older_than: timedelta | None, most_bytes: int | None, held: int) -> Iterator[Log]:
    """The oldest first, as ``logs`` come."""
    now = clock.now()
    for log in logs:
        too_old = older_than is not None and log.at < now - older_than
        if not too_old and (most_bytes is None or held <= most_bytes):
            return
        held -= log.stored
        yield log


def _named_otherwise(logs: set[str]) -> set[str]:
    """Those that are also something else: whatever column names them, a file of a source, a file of a released run."""
    found: set[str] = set()
    if not logs:
        return found
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            is_link = isinstance(field, models.ForeignKey) and field.remote_field.model is Blob
            if is_link and (model, field.name) not in LOGS:
                rows = model._default_manager.filter(**{f"{field.name}__in": logs})
                found |= set(rows.values_list(field.attname, flat=True))
    sources = Blob.objects.filter(pk__in=Trial.objects.filter(source__isnull=False).order_by().values("source"))
    for data in sources.values_list("data", flat=True).iterator(2_000):
        found |= logs & set(json.loads(zlib.decompress(bytes(data)))["files"].values())
    for spec in Campaign.objects.filter(spec__has_key="trace").values_list("spec", flat=True):
        found |= logs & set(released_files(spec))
    return found


def run(make_plan: Callable[[], Plan], *, actor: str, rule: dict[str, Any], within: float = WAIT_SECONDS) -> list[Log]:
    """Take the bytes of all logs of the plan away; returns those that went.

    make_plan: asked twice, before and after the wait. rule: what was asked for, for the events. Raises StillOpen.
    """
    going = [log.sha256 for log in make_plan().logs]
    _in_retention(_MARK, [clock.now(), going])
    _wait_for_others(within)
    again = {log.sha256: log for log in make_plan().logs}
    given_back = [sha256 for sha256 in going if sha256 not in again]
    _in_retention(_UNMARK, [given_back])
    left = [again[sha256] for sha256 in going if sha256 in again]
    done: list[Log] = []
    for at in range(0, len(left), AT_ONCE):
        done += _remove({log.sha256: log for log in left[at : at + AT_ONCE]}, actor, rule)
    return done


def _in_retention(statement: str, values: list[Any]) -> list[tuple[Any, ...]]:
    """A statement of a transaction that says that it is retention."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL autoresearch.retention = 'on'")
        cursor.execute(statement, values)
        return list(cursor.fetchall()) if cursor.description else []


@transaction.atomic
def _remove(logs: dict[str, Log], actor: str, rule: dict[str, Any]) -> list[Log]:
    """The bytes of these go, and every campaign that names one of them has an event that says so."""
    with connection.cursor() as cursor:
        cursor.execute(_NAMED_BY, {"logs": list(logs)})
        named = cursor.fetchall()
    campaigns = {pk: Campaign.objects.locked(pk) for pk in sorted({pk for pk, _ in named})}
    gone = {sha256 for (sha256,) in _in_retention(_REMOVE, [list(logs)])}
    told: dict[int, list[Log]] = defaultdict(list)
    for pk, sha256 in named:
        if sha256 in gone:
            told[pk].append(logs[sha256])
    for pk, some in told.items():
        payload = rule | {"logs": [log.sha256 for log in some], "bytes": sum(log.size for log in some)}
        append_event(campaigns[pk], EventKind.LOGS_REMOVED, actor, payload)
    return [logs[sha256] for sha256 in sorted(gone)]


def _wait_for_others(within: float) -> None:
    """Until every transaction has ended that may have found a log's bytes there before it was marked."""
    deadline = time.monotonic() + within
    before = _open_transactions()
    while before & _open_transactions():
        if time.monotonic() > deadline:
            raise StillOpen(f"another transaction has not ended within {within:g} s, expected to be run again later")
        time.sleep(0.1)


def _open_transactions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(_OPEN)
        return {name for (name,) in cursor.fetchall()}
