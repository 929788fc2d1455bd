"""``manage.py check_invariants``: is all that must be true of the record, and of this host, true now?"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from evaluators.sandbox import leftovers
from specialists.invariants import check_sessions
from trials.invariants import Violation, check_campaign, snapshot
from trials.models import Campaign

ENDS_WITHIN = 10.0
"""Seconds that the processes of a worker that was killed this moment may take to end."""


class Command(BaseCommand):
    help = "Check the record and this host for what must always hold; status 1 when something does not."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--campaign", metavar="SLUG", help="this one alone, and not the host")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, campaign: str | None, json: bool, **options: Any) -> None:
        found, checked = record(campaign)
        if campaign is None:
            found += host()
        if json:
            self.stdout.write(_document(found, checked))
        else:
            for violation in found:
                self.stdout.write(str(violation))
            self.stdout.write(f"{checked} campaigns checked, {len(found)} violations")
        if found:
            sys.exit(1)


def record(slug: str | None = None) -> tuple[list[Violation], int]:
    """Violations in one view of the record, and how many campaigns were read. Raises CommandError."""
    if connection.in_atomic_block:
        return _read(slug)
    with snapshot():
        return _read(slug)


def _read(slug: str | None) -> tuple[list[Violation], int]:
    chosen = Campaign.objects.select_related("best_trial").order_by("pk")
    chosen = chosen if slug is None else chosen.filter(slug=slug)
    found: list[Violation] = []
    campaigns = list(chosen)
    if slug is not None and not campaigns:
        known = ", ".join(Campaign.objects.values_list("slug", flat=True)[:10]) or "none"
        raise CommandError(f"campaign {slug!r} does not exist, expected one of: {known}")
    for campaign in campaigns:
        found += check_campaign(campaign)
        found += check_sessions(campaign)
        sys.stderr.write(f"{campaign.slug}: {campaign.last_number + 1} trials, {campaign.last_seq} events\n")
    return found, len(campaigns)


def host(within: float = ENDS_WITHIN) -> list[Violation]:
    """Folders and processes on this host that no living worker has in hand."""
    return list(_host(within))


def _host(within: float) -> Iterator[Violation]:
    name, deadline = socket.gethostname(), time.monotonic() + within
    first = set(leftovers.orphans())
    while first and time.monotonic() < deadline:
        time.sleep(0.2)
        first &= set(leftovers.orphans())
    for orphan in sorted(first, key=lambda one: one.pid):
        yield Violation(name, "processes", f"process {orphan.pid} has outlived its worker: {orphan.command}")
    for folder in leftovers.stray():
        yield Violation(name, "leftovers", f"{folder} was left by a process that is gone")


def _document(found: list[Violation], checked: int) -> str:
    return json.dumps({"campaigns": checked, "violations": [vars(violation) for violation in found]})
