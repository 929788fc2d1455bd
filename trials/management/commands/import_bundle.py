"""``manage.py import_bundle FILE.zip``: take in a bundle of this or another site, as a closed campaign."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.services.imports import Refused, import_bundle
from verify_bundle import public_key


class Command(BaseCommand):
    help = "Verify a bundle and take its record in, losslessly; a bundle that does not verify is refused as a whole."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--key", type=public_key, action="append", default=[], metavar="PUBLIC", help="accept this signer alone"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, file: Path, key: list[str], **options: Any) -> None:
        try:
            taken = import_bundle(file, actor="command", keys=key, report=_show)
        except Refused as error:
            raise CommandError(" ".join(str(error).split())) from error
        finally:
            _show("", -1)
        if taken.twin:
            self.stderr.write(f"the same record is here already, as {taken.twin}")
        told = {
            "campaign": taken.campaign.slug,
            "trials": taken.trials,
            "events": taken.events,
            "head": taken.campaign.head_sha256,
            "signer": taken.report["signer"],
            "key": taken.report["key"],
            "redacted": taken.report["redacted"],
            "url": taken.campaign.get_absolute_url(),
        }
        if options["json"]:
            self.stdout.write(json.dumps(told))
        else:
            self.stdout.write(f"{told['campaign']}: {taken.trials:,} trials, {taken.events:,} events, {told['url']}")


def _show(member: str, done: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{member[:40]:40} {done:12,}" if done >= 0 else "\r" + " " * 60 + "\r")
        sys.stderr.flush()
