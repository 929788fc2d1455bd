"""``manage.py launch ENV``: launch a campaign, as the admin does."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from autoresearch_site.stack import Stack, StackError
from specialists.launch import LaunchError, LaunchSettings, launch_campaign
from trials.models import Campaign
from trials.services.reports import current_report
from trials.vocab import LIVE_CAMPAIGN_STATES

POLL_SECONDS = 0.5
TEXT_OPTIONS = ("profile", "roster", "proposer", "lineage", "enforcement", "level", "name")


class Command(BaseCommand):
    help = "Launch a campaign. With --wait the workers run here unless this DATA_DIR has some, until it ends."

    def add_arguments(self, parser: CommandParser) -> None:
        fallback = LaunchSettings(environment="")
        parser.add_argument("environment")
        for name in TEXT_OPTIONS:
            parser.add_argument(f"--{name}", default=getattr(fallback, name))
        parser.add_argument("--keep-rule", default=fallback.keep_rule, help="verified (the default) or strict")
        parser.add_argument("--start-from", default="", metavar="SLUG[:TRIAL]", help="a keep of another campaign")
        parser.add_argument("--trials", type=int, default=fallback.trials)
        parser.add_argument("--hours", type=float, default=fallback.hours)
        parser.add_argument("--no-improvement-hours", type=float, default=fallback.no_improvement_hours)
        parser.add_argument("--slots", type=int, default=settings.EVALUATOR_SLOTS)
        parser.add_argument("--weight", type=int, default=fallback.weight, help="share of evaluators, beside others")
        parser.add_argument("--seed", type=int, default=fallback.seed)
        parser.add_argument("--reproducible", action="store_true")
        parser.add_argument("--approve-keeps", action="store_true", help="ask a person before a keep becomes the base")
        for name, kind, what in (("trials", int, "trials"), ("hours", float, "hours"), ("usd", float, "US dollars")):
            parser.add_argument(f"--approve-{name}", type=kind, default=0, metavar="N", help=f"and after each N {what}")
        parser.add_argument("--usd", type=float, help="US dollars for language models")
        parser.add_argument("--wait", action="store_true", help="end with the campaign and print its report")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *, wait: bool, **options: Any) -> None:
        chosen = LaunchSettings(**{name: options[name] for name in LaunchSettings.__dataclass_fields__})
        try:
            if not wait:
                printed = _short(launch_campaign(chosen, actor="command"))
            else:
                with Stack(settings.DATA_DIR, web=False) as stack:
                    printed = current_report(wait_for(launch_campaign(chosen, actor="command"), stack))
        except (LaunchError, StackError, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(printed))
            return
        for name, value in printed.items():
            self.stdout.write(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")


def wait_for(campaign: Campaign, stack: Stack) -> Campaign:
    """Block until the campaign is no longer live; its state goes to stderr when it changes. Raises StackError."""
    shown = ""
    while True:
        stack.check()
        campaign = Campaign.objects.select_related("best_trial").get(pk=campaign.pk)
        if campaign.state not in LIVE_CAMPAIGN_STATES:
            return campaign
        line = f"{campaign.slug}: {campaign.state}, {campaign.trial_count}/{campaign.max_trials} trials"
        if line != shown:
            sys.stderr.write(line + "\n")
            shown = line
        time.sleep(POLL_SECONDS)


def _short(campaign: Campaign) -> dict[str, Any]:
    return {"campaign": campaign.slug, "state": campaign.state, "url": campaign.get_absolute_url()}
