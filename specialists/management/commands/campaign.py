"""``manage.py campaign pause|resume|stop|approve|refuse|weigh SLUG``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from specialists import launch
from specialists.launch import STEERING
from trials.checkpoints import told
from trials.models import Approval, Campaign
from trials.services.campaigns import WrongState
from trials.services.shares import BadWeight
from trials.vocab import Answer

WEIGH = "weigh"
ANSWERS = {"approve": Answer.APPROVED, "refuse": Answer.REFUSED}


class Command(BaseCommand):
    help = "Steer a campaign, give it a weight, or answer what it asks a person: approve or refuse."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=[*STEERING, *ANSWERS, WEIGH])
        parser.add_argument("slug")
        parser.add_argument("--trial", type=int, help="answer the question about this trial alone, not all that wait")
        parser.add_argument("--weight", type=int, help="of weigh: its share of evaluators, beside others")
        parser.add_argument("--remark", default="", help="why, for the record")

    def handle(
        self, *, action: str, slug: str, trial: int | None, remark: str, weight: int | None, **options: Any
    ) -> None:
        if (action == WEIGH) != (weight is not None):
            raise CommandError(f"{action} {'needs' if action == WEIGH else 'has no'} --weight")
        try:
            campaign = Campaign.objects.get(slug=slug)
            if action in ANSWERS:
                self._answer(campaign, ANSWERS[action], trial, remark)
                return
            if trial is not None or remark:
                raise CommandError(f"{action} has no --trial and no --remark: approve and refuse have")
            if weight is not None:
                launch.weigh(campaign, weight, actor="command")
                self.stdout.write(f"{campaign.slug}: weight {weight}")
                return
            campaign = STEERING[action](campaign, actor="command")
        except Campaign.DoesNotExist:
            known = ", ".join(Campaign.objects.values_list("slug", flat=True)[:10]) or "none"
            raise CommandError(f"campaign {slug!r} does not exist, expected one of: {known}") from None
        except (WrongState, BadWeight) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{campaign.slug}: {campaign.state}")

    def _answer(self, campaign: Campaign, given: Answer, trial: int | None, remark: str) -> None:
        numbers = None
        if trial is not None:
            found = Approval.objects.open(campaign.pk).filter(trial__number=trial)
            numbers = list(found.values_list("number", flat=True))
            if not numbers:
                raise CommandError(f"trial {trial} of {campaign.slug} does not wait for a person")
        for asked in launch.answer(campaign, given, actor="command", numbers=numbers, remark=remark):
            what = told([(asked.subject, None if asked.trial is None else asked.trial.number, asked.used)])
            self.stdout.write(f"{campaign.slug}: {asked.answer} {what}")
