"""``manage.py bootstrap``: tables, static files and the administrator, for a site that is served by other means."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from autoresearch_site.bootstrap import prepare_site, say_login


class Command(BaseCommand):
    help = "Prepare DATA_DIR and the database: migrate, collect static files, make the administrator. Repeatable."

    def handle(self, **options: Any) -> None:
        self.stdout.write(say_login(self, prepare_site()))
