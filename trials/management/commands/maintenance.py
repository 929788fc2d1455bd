"""``manage.py maintenance on|off|status``: nothing new is begun while it is on, and what runs finishes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from trials.models import Evaluation
from trials.services import maintenance
from trials.vocab import EvaluationState


class Command(BaseCommand):
    help = "No launch, session or measurement is begun while maintenance is on; pages stay, and what runs finishes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["on", "off", "status"])
        parser.add_argument("--reason", default="", help="shown on every page")

    def handle(self, *, action: str, reason: str, **options: Any) -> None:
        if reason and action != "on":
            raise CommandError(f"{action} has no --reason")
        if action == "on" and not maintenance.begin(actor="command", reason=reason):
            raise CommandError("maintenance is on already, expected off first")
        if action == "off" and not maintenance.end(actor="command"):
            raise CommandError("maintenance is not on")
        found = maintenance.current()
        self.stdout.write("maintenance is off" if found is None else f"maintenance is on {found}")
        if found is not None:
            running = Evaluation.objects.in_flight().filter(state=EvaluationState.RUNNING).count()
            self.stdout.write(f"{running} measurements are still running")
