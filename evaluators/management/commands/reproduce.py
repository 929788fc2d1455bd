"""``manage.py reproduce FILE.zip TRIAL``: run one trial of a bundle again on this machine, and compare."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

import verify_bundle
from evaluators.contract import HarnessFault, Progress
from evaluators.devices import Unavailable
from evaluators.management.line import one_line
from evaluators.reproduce import reproduce
from evaluators.sandbox import LEVELS, SandboxUnavailable
from trials.bundles.reading import read_trial


class Command(BaseCommand):
    help = "Run one trial of a bundle again with its own seed, and compare with what was recorded."
    needs_servers = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("trial", type=int)
        parser.add_argument("--key", type=verify_bundle.public_key, action="append", default=[], metavar="PUBLIC")
        parser.add_argument("--level", default="L3", choices=LEVELS, help="isolation that is wanted")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, file: Path, trial: int, key: list[str], level: str, **options: Any) -> None:
        try:
            verdict = verify_bundle.verify(file, key)
            if not verdict["ok"]:
                first = verdict["failures"][0]
                raise ValueError(f"{file} does not verify: {first['member']}: {first['what']}")
            report = reproduce(read_trial(verify_bundle.Container(file), trial), level=level, report=_show)
        except (
            verify_bundle.BadBundle, LookupError, OSError, ValueError, HarnessFault, SandboxUnavailable, Unavailable
        ) as error:  # fmt: skip
            raise one_line(error) from error
        if options["json"]:
            self.stdout.write(json.dumps(report))
            return
        for name in ("recorded", "measured", "difference", "within_noise"):
            self.stdout.write(f"{name}: {report[name]}")
        for differs in report["not_comparable"]:
            self.stdout.write(f"not comparable: {differs}")


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{progress.phase:10} {progress.fraction:4.0%} {progress.note[:60]:60}")
        sys.stderr.flush()
