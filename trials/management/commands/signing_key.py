"""``manage.py signing_key``: which key signs this site's bundles; ``--rotate`` replaces it, on record."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.bundles.signing import BadKey
from trials.services.keys import adopt_key, rotate_key


class Command(BaseCommand):
    help = "Print the public key that signs bundles, for verify_bundle.py --key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rotate", action="store_true", help="replace the key; the old one vouches for the new")
        parser.add_argument("--adopt", action="store_true", help="only see to it that the key is on record")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, rotate: bool = False, adopt: bool = False, **options: Any) -> None:
        try:
            if rotate:
                before, signer = rotate_key("command")
                told = {"public": signer.public, "before": before.public}
            else:
                told = {"public": adopt_key("command").public}
        except BadKey as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(told))
        elif not adopt:
            self.stdout.write(told["public"])
