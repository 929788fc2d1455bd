"""``manage.py campaign pause|resume|stop SLUG``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from specialists import launch
from trials.models import Campaign
from trials.services.campaigns import WrongState

ACTIONS = {"pause": launch.pause, "resume": launch.resume, "stop": launch.stop}


class Command(BaseCommand):
    help = "Steer a campaign."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("slug")

    def handle(self, *, action: str, slug: str, **options: Any) -> None:
        try:
            campaign = ACTIONS[action](Campaign.objects.get(slug=slug), actor="command")
        except Campaign.DoesNotExist:
            known = ", ".join(Campaign.objects.values_list("slug", flat=True)[:10]) or "none"
            raise CommandError(f"campaign {slug!r} does not exist, expected one of: {known}") from None
        except WrongState as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{campaign.slug}: {campaign.state}")
