"""``manage.py quota``: what people have used and may use, and changing it for one of them."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from specialists import quotas


def _limit(kind: Callable[[str], float]) -> Callable[[str], float | None]:
    """A limit, or ``none``. argparse names what it could not read."""

    def read(text: str) -> float | None:
        value = None if text == "none" else kind(text)
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError(text)
        return value

    read.__name__ = "limit (a number of at least 0, or none)"
    return read


class Command(BaseCommand):
    help = "What people have used and may use. With a limit: gives USER limits of his own."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", nargs="?", help="default: everybody who has launched a campaign or has a quota")
        parser.add_argument("--campaigns", type=_limit(int), default=SUPPRESS, metavar="N|none", help="live at once")
        parser.add_argument("--device-hours", type=_limit(float), default=SUPPRESS, metavar="H|none")
        parser.add_argument("--usd", type=_limit(float), default=SUPPRESS, metavar="D|none", help="for language models")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, user: str | None, **options: Any) -> None:
        given = {name: options[name] for name in ("campaigns", "device_hours", "usd") if name in options}
        found = User.objects.filter(username=user) if user else quotas.counted_people()
        people = list(found.order_by("username"))
        if user and not people:
            raise CommandError(f"there is no user {user!r}")
        if given and not user:
            raise CommandError("whose limits? expected a user beside them")
        if given:
            quotas.change(people[0], replace(quotas.limits_of(people[0]), **given))
        used = quotas.used_by([one.pk for one in people])
        rows: list[dict[str, Any]] = [
            {"user": one.username, "used": asdict(used[one.pk]), "limits": asdict(quotas.limits_of(one))}
            for one in people
        ]
        if options["json"]:
            self.stdout.write(json.dumps(rows))
            return
        for row in rows:
            parts = [f"{name.replace('_', ' ')} {_shown(value)} of {_shown(row['limits'][name])}"
                     for name, value in row["used"].items()]  # fmt: skip
            self.stdout.write(f"{row['user']}: {', '.join(parts)}")


def _shown(value: float | None) -> str:
    return "any" if value is None else f"{value:.2f}".removesuffix(".00")
