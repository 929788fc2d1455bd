"""``manage.py screenshots -o DIR``: every page as PNG in each theme and width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from autoresearch_site.bootstrap import prepare_site
from trials.models import Campaign

try:
    from autoresearch_site import screenshots
except ModuleNotFoundError as error:  # a browser is driven by a package of the developers
    MISSING: str | None = str(error.name)
else:
    MISSING = None

MOST_CAMPAIGNS = 6


class Command(BaseCommand):
    help = "Write every page as PNG: light, dark and on a phone. Starts a web process and Chromium of its own."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
        parser.add_argument(
            "--campaign", action="append", default=[], metavar="SLUG", help="default: the newest few of each length"
        )

        parser.add_argument(
            "--look", action="append", default=[], metavar="NAME", help="light, dark, phone; default: all"
        )

    def handle(self, *, output: Path, campaign: list[str], look: list[str], **options: Any) -> None:
        if MISSING:
            raise CommandError(f"the package {MISSING} is missing, expected requirements-dev.txt: run make setup-dev")
        if unknown := [name for name in look if name not in screenshots.LOOKS]:
            raise CommandError(f"there is no look {unknown[0]!r}, expected one of {', '.join(screenshots.LOOKS)}")
        prepare_site()
        try:
            looks = [screenshots.LOOKS[name] for name in look or screenshots.LOOKS]
            made = screenshots.shoot(output, _chosen(campaign), looks, self.stderr.write)
        except RuntimeError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{len(made)} pictures in {output}")


def _chosen(slugs: list[str]) -> list[Campaign]:
    """The named campaigns, or one of each length: empty, and to each power of ten."""
    rows = Campaign.objects.select_related("best_trial").order_by("-pk")
    if slugs:
        found = {row.slug: row for row in rows.filter(slug__in=slugs)}
        if missing := [slug for slug in slugs if slug not in found]:
            raise CommandError(f"there is no campaign {missing[0]!r}")
        return [found[slug] for slug in slugs]
    by_length: dict[int, Campaign] = {}
    for row in rows[:200]:
        by_length.setdefault(len(str(row.trial_count)) if row.trial_count else 0, row)
    return [by_length[length] for length in sorted(by_length)][:MOST_CAMPAIGNS]
