"""``manage.py study_report SLUG``: what a study has come to so far."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from specialists.models import Study
from specialists.studies.reports import current_report
from specialists.studies.tables import lines


class Command(BaseCommand):
    help = "The comparison of a study, finished or not: campaigns that came to their end are compared."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, slug: str, **options: Any) -> None:
        report = current_report(find_study(slug))
        self.stdout.write(json.dumps(report) if options["json"] else "\n".join(lines(report)))


def find_study(slug: str) -> Study:
    """Raises CommandError that names the known ones."""
    study = Study.objects.filter(slug=slug).first()
    if study is None:
        known = ", ".join(Study.objects.values_list("slug", flat=True)[:10]) or "none"
        raise CommandError(f"study {slug!r} does not exist, expected one of: {known}")
    return study
