"""``manage.py steer_study cancel|resume SLUG``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from specialists.management.commands.study_report import find_study
from specialists.studies.plan import StudyError
from specialists.studies.services import cancel_study, resume_study

ACTIONS = {"cancel": cancel_study, "resume": resume_study}


class Command(BaseCommand):
    help = "Cancel a study, which stops its running campaigns, or go on with one: finished campaigns stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("slug")

    def handle(self, *, action: str, slug: str, **options: Any) -> None:
        try:
            study = ACTIONS[action](find_study(slug), actor="command")
        except StudyError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{study.slug}: {study.state}")
