"""``manage.py evaluator_role ROLE``: a role of the database that evaluator hosts log in as."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.services.evaluator_rights import NoSuchRole, limit


class Command(BaseCommand):
    help = "Leave a role of the database what an evaluator host needs, and nothing else. Again after each upgrade."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("role", help="made before: CREATE ROLE evaluator LOGIN PASSWORD '...'")

    def handle(self, *, role: str, **options: Any) -> None:
        try:
            limit(role)
        except NoSuchRole as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{role} may claim work orders, renew, post and hand back, and nothing else")
