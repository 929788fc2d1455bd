"""``manage.py recipe ENV -o DIR``: write the starting recipe to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from evaluators.preflight import read_recipe
from evaluators.registry import profile_of


class Command(BaseCommand):
    help = "Write the starting recipe of an environment to a folder."
    needs_servers = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("environment")
        parser.add_argument("--profile", default="cpu")
        parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR")

    def handle(self, *, environment: str, profile: str, output: Path, **options: Any) -> None:
        try:
            chosen, size = profile_of(environment, profile)
            files = read_recipe(chosen.spec, size.name)
            output.mkdir(parents=True, exist_ok=True)
            taken = [name for name in files if (output / name).exists()]
            if taken:
                raise CommandError(f"{output / taken[0]} exists, expected a folder without recipe files")
            for name, data in files.items():
                (output / name).parent.mkdir(parents=True, exist_ok=True)
                (output / name).write_bytes(data)
        except (LookupError, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"{len(files)} files in {output}")
