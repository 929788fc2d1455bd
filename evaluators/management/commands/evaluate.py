"""``manage.py evaluate ENV DIR``: judge one recipe folder by hand, without a campaign."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from evaluators import by_hand
from evaluators.contract import HarnessFault, Progress
from evaluators.devices import Unavailable
from evaluators.management.line import one_line, seed
from evaluators.registry import profile_of
from evaluators.sandbox import LEVELS, SandboxUnavailable


class Command(BaseCommand):
    help = "Judge one recipe folder by hand, without a campaign."
    needs_servers = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment")
        parser.add_argument("recipe_dir", type=Path)
        parser.add_argument("--profile", default="cpu")
        parser.add_argument("--seed", type=seed, default=0)
        parser.add_argument("--level", default="L3", choices=LEVELS, help="isolation that is wanted")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, environment: str, recipe_dir: Path, profile: str, **options: Any) -> None:
        try:
            chosen, size = profile_of(environment, profile)
            report = by_hand.evaluate(
                chosen, size, recipe_dir, seed=options["seed"], level=options["level"], report=_show
            )
        except (LookupError, OSError, ValueError, HarnessFault, SandboxUnavailable, Unavailable) as error:
            raise one_line(error) from error
        if options["json"]:
            self.stdout.write(json.dumps(report))
            return
        for name in ("label", "reason", "score", "score_source", "artifact_bytes", "timings"):
            self.stdout.write(f"{name}: {report[name]}")
        self.stdout.write(f"isolation: {report['isolation']}")
        if report["excerpt"]:
            self.stdout.write(report["excerpt"])


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{progress.phase:10} {progress.fraction:4.0%} {progress.note[:60]:60}")
        sys.stderr.flush()
