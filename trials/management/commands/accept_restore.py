"""``manage.py accept_restore``: go on with a database that lacks committed events; the loss goes on record."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from trials.services.restores import accept


class Command(BaseCommand):
    help = "Accept that a restored database lacks events: an event in each chain says which."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--actor", default="command", help="who accepts it")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, actor: str, **options: Any) -> None:
        accepted = accept(actor)
        if options["json"]:
            self.stdout.write(json.dumps({"accepted": [asdict(loss) for loss in accepted]}))
            return
        for loss in accepted:
            self.stdout.write(f"accepted: {loss}")
        if not accepted:
            self.stdout.write("nothing is missing")
