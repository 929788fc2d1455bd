"""``manage.py remeasure SLUG TRIAL``: a trial is measured again on fresh seeds."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from autoresearch_site.stack import Stack, StackError
from specialists import launch
from trials.again import Again, again
from trials.models import Campaign, Trial
from trials.services.campaigns import WrongState
from trials.services.remeasures import MOST_SEEDS

ACTOR = "command"
POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = "Measure a trial again on fresh seeds: measurements are added, nothing recorded changes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("trial", type=int)
        parser.add_argument("--seeds", type=int, default=3, help=f"how many, 1 to {MOST_SEEDS}; default: 3")
        parser.add_argument("--cancel", action="store_true", help="give up what is not measured yet instead")
        parser.add_argument("--wait", action="store_true", help="end when all is measured")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, slug: str, trial: int, seeds: int, cancel: bool, wait: bool, **options: Any) -> None:
        campaign = Campaign.objects.filter(slug=slug).first()
        if campaign is None:
            raise CommandError(f"campaign {slug!r} does not exist")
        try:
            if cancel:
                launch.cancel_remeasure(campaign, trial, actor=ACTOR)
            elif wait:
                with Stack(settings.DATA_DIR, web=False) as stack:
                    launch.remeasure(campaign, trial, seeds, actor=ACTOR)
                    self._wait(campaign, trial, stack)
            else:
                launch.remeasure(campaign, trial, seeds, actor=ACTOR)
        except (WrongState, ValueError, StackError) as error:
            raise CommandError(str(error)) from error
        found = _read(campaign, trial)
        printed = found[1].as_json(found[0])
        if options["json"]:
            self.stdout.write(json.dumps(printed))
            return
        for name, value in printed.items():
            self.stdout.write(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")

    def _wait(self, campaign: Campaign, number: int, stack: Stack) -> None:
        shown = -1
        while left := len(_read(campaign, number)[1].open):
            stack.check()
            if left != shown:
                sys.stderr.write(f"trial {number} of {campaign.slug}: {left} to go\n")
                shown = left
            time.sleep(POLL_SECONDS)


def _read(campaign: Campaign, number: int) -> tuple[Trial, Again]:
    trial = Trial.objects.of(campaign.pk).select_related("campaign").get(number=number)
    return trial, again(trial)
