"""``manage.py retention --older-than DAYS | --most-bytes N``: old logs give their bytes back, their hashes stay."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.models import Campaign
from trials.services import retention


class Command(BaseCommand):
    help = "Take the bytes of old logs away. Hashes, scores, sources and everything else stay; an event says what went."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", type=float, metavar="DAYS", help="logs whose last use is longer ago")
        parser.add_argument("--most-bytes", type=int, metavar="N", help="the oldest, until the others fit into N bytes")
        parser.add_argument("--campaign", default="", metavar="SLUG", help="of one campaign alone")
        parser.add_argument("--dry-run", action="store_true", help="say what would go")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, older_than: float | None, most_bytes: int | None, **options: Any) -> None:
        if older_than is None and most_bytes is None:
            raise CommandError("nothing is chosen, expected --older-than DAYS, --most-bytes N or both")
        for name, value in (("--older-than", older_than), ("--most-bytes", most_bytes)):
            if value is not None and not 0 <= value < 10**15:
                raise CommandError(f"{name}: {value:g} is out of range, expected 0 or more")
        age = None if older_than is None else timedelta(days=min(older_than, 36_500.0))
        make_plan = partial(
            retention.plan, older_than=age, most_bytes=most_bytes, campaign=_campaign(options["campaign"])
        )
        chosen = make_plan()
        logs = chosen.logs
        if not options["dry_run"]:
            rule = {"older_than_days": older_than, "most_bytes": most_bytes}
            try:
                logs = retention.run(make_plan, actor="command", rule=rule)
            except retention.StillOpen as error:
                raise CommandError(str(error)) from error
        many, stored = Counter(log.campaign for log in logs), Counter[int]()
        for log in logs:
            stored[log.campaign] += log.stored
        names = dict(Campaign.objects.filter(pk__in=many).values_list("pk", "slug"))
        rows = [{"campaign": names[pk], "logs": many[pk], "stored_bytes": stored[pk]} for pk in sorted(many)]
        told = {
            "dry_run": options["dry_run"], "campaigns": rows, "logs": len(logs),
            "bytes": sum(log.size for log in logs), "stored_bytes": stored.total(),
            "held_stored_bytes": chosen.held, "named_otherwise": chosen.named, "kept": chosen.kept,
        }  # fmt: skip
        if options["json"]:
            self.stdout.write(json.dumps(told))
            return
        for row in rows:
            self.stdout.write(f"{row['campaign']}: {row['logs']} logs, {row['stored_bytes']:,} bytes")
        verb = "would give back" if options["dry_run"] else "gave back"
        self.stdout.write(
            f"{verb} {told['stored_bytes']:,} of {chosen.held:,} stored bytes of logs ({told['bytes']:,} as they were "
            f"printed); {chosen.named} more are old enough, and something else has the same bytes"
        )


def _campaign(slug: str) -> Campaign | None:
    """Raises CommandError."""
    if not slug:
        return None
    try:
        found = Campaign.objects.get(slug=slug)
    except Campaign.DoesNotExist:
        raise CommandError(f"campaign {slug!r} does not exist, expected one of this site") from None
    if found.bundle is not None:
        raise CommandError(f"campaign {slug!r} was imported: its record is closed, expected one that ran here")
    return found
