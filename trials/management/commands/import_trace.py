"""``manage.py import_trace DIR --environment ENV --name NAME``: a released run becomes a finished campaign."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.services.reports import current_report
from trials.services.traces import import_trace
from trials.traces.folder import read_trace
from trials.traces.layouts import LAYOUTS, TraceError, layout_of
from trials.vocab import LineagePolicy


class Command(BaseCommand):
    help = "Import a released run (results.tsv, tree.tsv, ...). All of it, or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR")
        parser.add_argument("--environment", required=True, help=f"one of {', '.join(LAYOUTS)}")
        parser.add_argument("--name", required=True)
        parser.add_argument(
            "--lineage",
            choices=[policy.value for policy in LineagePolicy],
            default="",
            help="what its agents saw of each other's trials; the files do not tell",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, folder: Path, environment: str, name: str, lineage: str, **options: Any) -> None:
        try:
            trace = read_trace(folder, layout_of(environment), _say)
            campaign = import_trace(trace, name, lineage, _say)
            current_report(campaign)
        except (TraceError, OSError) as error:
            raise CommandError(" ".join(str(error).split())) from error
        printed = {
            "campaign": campaign.slug,
            "trials": campaign.trial_count,
            "repaired": list(trace.repaired),
            "warnings": list(trace.warnings),
        }
        if options["json"]:
            self.stdout.write(json.dumps(printed))
            return
        for key, value in printed.items():
            lines = value if isinstance(value, list) else [value]
            self.stdout.write(f"{key}: {len(lines) if isinstance(value, list) else value}")
            for line in value if isinstance(value, list) else []:
                self.stdout.write(f"  {line}")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
