"""``manage.py recipe ENV -o DIR``: write the starting recipe to a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from evaluators.management.line import one_line
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
            _write(output, files)
        except (LookupError, OSError, ValueError) as error:
            raise one_line(error) from error
        self.stderr.write(f"{len(files)} files in {output}")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """All files or none: what was made is removed when one cannot be. Raises ValueError, OSError."""
    with contextlib.ExitStack() as undo:
        for name, data in sorted(files.items()):
            path = folder / name
            _make(path.parent, undo)
            try:
                with path.open("xb") as stream:  # never through a link, never over a file
                    undo.callback(path.unlink)
                    stream.write(data)
            except FileExistsError:
                raise ValueError(f"{path} exists, expected a folder without recipe files") from None
        undo.pop_all()


def _make(folder: Path, undo: contextlib.ExitStack) -> None:
    """The folder and those above it; ``undo`` removes those that were not there."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder, expected one without recipe files, or a new one")
    if not folder.exists():
        _make(folder.parent, undo)
        folder.mkdir()
        undo.callback(folder.rmdir)
