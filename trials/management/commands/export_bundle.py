"""``manage.py export_bundle SLUG -o FILE.zip``: one campaign's record as a file that proves itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.bundles.export import ExportError
from trials.bundles.redaction import PROFILES, known_profiles
from trials.bundles.signing import BadKey
from trials.models import Campaign
from trials.services.exports import export_to


class Command(BaseCommand):
    help = "Write a campaign's audit bundle. verify_bundle.py checks it, import_bundle takes it in again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE.zip")
        parser.add_argument(
            "--redact", default="", metavar="PROFILE", help=f"leave out, comma-separated: {', '.join(PROFILES)}"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, slug: str, output: Path, redact: str, **options: Any) -> None:
        try:
            head = export_to(output, slug, profiles=known_profiles(redact), actor="command", report=_show)
        except Campaign.DoesNotExist:
            known = ", ".join(Campaign.objects.values_list("slug", flat=True)[:10]) or "none"
            raise CommandError(f"campaign {slug!r} does not exist, expected one of: {known}") from None
        except OSError as error:
            raise CommandError(f"{error.filename or output}: {error.strerror}, expected a place to write to") from error
        except (ExportError, BadKey, ValueError) as error:
            raise CommandError(" ".join(str(error).split())) from error
        finally:
            _show("", -1)
        told = {
            "campaign": slug,
            "file": str(output),
            "bytes": output.stat().st_size,
            "seq": head["seq"],
            "head": head["sha256"],
            "key": head["head_key"],
            "redacted": head["redacted"],
        }
        if options["json"]:
            self.stdout.write(json.dumps(told))
        else:
            self.stdout.write(f"{output}: {told['bytes']:,} bytes, {told['seq']:,} events, signed by {told['key']}")


def _show(member: str, done: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{member[:40]:40} {done:12,}" if done >= 0 else "\r" + " " * 60 + "\r")
        sys.stderr.flush()
