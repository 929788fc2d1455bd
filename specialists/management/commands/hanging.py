"""``manage.py hanging``: what every live campaign waits for, and what would end the wait."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from specialists.operations import waits
from trials import formatting


class Command(BaseCommand):
    help = "What every live campaign waits for, and why. What hangs, so that time alone does not end it, comes first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, **options: Any) -> None:
        now = timezone.now()
        found = waits.hanging(now=now)
        hangs = sum(wait.hangs for wait in found)
        if options["json"]:
            told = {"at": now.isoformat(), "hanging": hangs, "waits": [wait.as_json(now) for wait in found]}
            self.stdout.write(json.dumps(told))
            return
        for wait in found:
            since = "" if wait.since is None else f" for {formatting.duration((now - wait.since).total_seconds())}"
            many = f" ({wait.count})" if wait.count > 1 else ""
            act = f"; {wait.act}" if wait.act else ""
            word = "HANGS" if wait.hangs else "waits"
            self.stdout.write(formatting.visible(f"{word}  {wait.campaign or 'site'}{since}: {wait.told}{many}{act}"))
        if not found:
            self.stdout.write("nothing waits")
