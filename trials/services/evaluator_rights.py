"""What the database lets an evaluator's host do: claim, renew, post, hand back, say that it is there. Nothing else.

Rights are by table and column. They keep such a host from outcomes, standings, campaigns, users, tokens and keys; they
do not tie it to the orders that it has claimed: see docs/operating.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db import connection, transaction
from psycopg import sql

READ = (
    "trials_campaign", "trials_trial", "trials_evaluation", "trials_measurement", "trials_blob", "trials_event",
    "trials_siteevent", "trials_confirmation", "trials_approval", "trials_worker", "trials_share", "trials_turn",
    "trials_maintenance",
)  # fmt: skip
ADD = ("trials_event", "trials_measurement", "trials_blob", "trials_worker", "trials_turn")
CHANGE: Mapping[str, Sequence[str]] = {
    "trials_campaign": ("last_seq", "head_sha256"),
    "trials_trial": ("state", "started_at"),
    "trials_evaluation": (
        "state", "attempt", "worker", "claimed_at", "lease_expires_at", "phase", "progress", "fault", "queued_at",
        "sent_at", "measured_at",
    ),
    "trials_turn": ("origin", "start", "used", "expected", "taken"),
    "trials_worker": (
        "name", "device", "device_name", "devices", "memory_bytes", "level", "details", "started_at", "seen_at",
    ),
}  # fmt: skip
REMOVE = ("trials_worker",)


class NoSuchRole(ValueError):
    """The role is not there, or is one that must not be limited; says what was expected."""


@transaction.atomic
def limit(role: str) -> None:
    """Leave a role of the database these rights and no other on this site's tables. May be done again after an upgrade.

    Raises NoSuchRole.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolname = current_user FROM pg_roles WHERE rolname = %s", [role])
        found = cursor.fetchone()
        if found is None or any(found):
            what = "does not exist" if found is None else "owns this site"
            raise NoSuchRole(f"role {role!r} {what}, expected one of its own: CREATE ROLE ... LOGIN PASSWORD ...")
        for statement in _statements(role):
            cursor.execute(statement.as_string(cursor.connection))


def _statements(role: str) -> list[sql.Composed]:
    who = sql.Identifier(role)

    def grant(rights: str, table: str, columns: Sequence[str] = ()) -> sql.Composed:
        names = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns))) if columns else sql.SQL("")
        return sql.SQL("GRANT {}{} ON {} TO {}").format(sql.SQL(rights), names, sql.Identifier(table), who)

    return [
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(who),
        sql.SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(who),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(who),
        *(grant("SELECT", table) for table in READ),
        *(grant("INSERT", table) for table in ADD),
        *(grant("UPDATE", table, columns) for table, columns in CHANGE.items()),
        *(grant("DELETE", table) for table in REMOVE),
    ]
