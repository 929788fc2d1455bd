"""``manage.py check_record``: does the database have all events that were committed?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import ProgrammingError

from trials.services.restores import RecordLost, require_whole


class Command(BaseCommand):
    help = "Compare the record with the notes outside the database; status 1 when events are missing."

    def handle(self, *, verbosity: int, **options: Any) -> None:
        try:
            require_whole()
        except RecordLost as error:
            raise CommandError(str(error)) from error
        except ProgrammingError:  # no tables yet: there is nothing to lose, and whoever needs them says so
            return
        if verbosity:
            self.stdout.write("the record has every event that was noted outside the database")
