"""``manage.py selftest``: which isolation this host reaches, level by level, and what each attempt showed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from evaluators.sandbox import LEVELS
from evaluators.sandbox.conformance import Attempt, conformance


class Command(BaseCommand):
    help = "Try every isolation level of this host and every way to start a sandbox; report each check."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--level", choices=LEVELS, help="fail unless this level is reached; weaker ones are left out"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, level: str | None, **options: Any) -> None:
        attempts = conformance(level or LEVELS[-1])
        found = {name: _summary([each for each in attempts if each.level == name]) for name in LEVELS}
        found = {name: summary for name, summary in found.items() if summary["attempts"]}
        if options["json"]:
            self.stdout.write(json.dumps({"wanted": level, "levels": found}))
        else:
            self._table(attempts)
        if level and not found[level]["available"]:
            raise CommandError(f"{level} is not available on this host: {found[level]['why_not']}")

    def _table(self, attempts: list[Attempt]) -> None:
        for each in attempts:
            held = f"{sum(each.checks.values())}/{len(each.checks)} checks" if each.checks else "-"
            state = "available" if not each.why_not else "not available"
            self.stdout.write(f"{each.level}  {each.backend:9} {each.start:5} {state:14} {held:13} {each.why_not}")


def _summary(attempts: list[Attempt]) -> dict[str, Any]:
    """One level: available when any way to start it is; the reasons of the others beside it."""
    available = any(not each.why_not for each in attempts)
    return {
        "available": available,
        "why_not": "" if available else "; ".join(f"{each.backend} {each.start}: {each.why_not}" for each in attempts),
        "checks_passed": max((sum(each.checks.values()) for each in attempts if not each.why_not), default=0),
        "checks_failed": sorted({name for each in attempts for name, held in each.checks.items() if not held}),
        "attempts": [asdict(each) for each in attempts],
    }
