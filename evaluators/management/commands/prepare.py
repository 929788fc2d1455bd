"""``manage.py prepare ENV``: make or check an environment's data."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from evaluators.management.line import one_line
from evaluators.registry import profile_of


class Command(BaseCommand):
    help = "Make or check the data of an environment: what is there, what is missing, where it is looked for."
    needs_servers = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment")
        parser.add_argument("--profile", default="cpu")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, environment: str, profile: str, **options: Any) -> None:
        try:
            chosen, size = profile_of(environment, profile)
            found = chosen.prepare(size)
        except (LookupError, OSError, ValueError) as error:
            raise one_line(error) from error
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
            return
        for name, value in found.items():
            self.stdout.write(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
