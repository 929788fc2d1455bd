"""``manage.py report SLUG``: the analytics of one campaign."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.models import Campaign
from trials.services.reports import current_report


class Command(BaseCommand):
    help = "The analytics of one campaign."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, slug: str, **options: Any) -> None:
        campaign = Campaign.objects.filter(slug=slug).select_related("best_trial").first()
        if campaign is None:
            known = ", ".join(Campaign.objects.values_list("slug", flat=True)[:10]) or "none"
            raise CommandError(f"campaign {slug!r} does not exist, expected one of: {known}")
        report = current_report(campaign)
        if options["json"]:
            self.stdout.write(json.dumps(report))
            return
        for name, value in report.items():
            self.stdout.write(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
