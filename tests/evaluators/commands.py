"""``manage.py`` in this process, with what it would have printed and its exit status."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from autoresearch_site.commandline import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def refused(self) -> str:
        """The one line of an error: nothing on stdout, status 1."""
        assert (self.status, self.out) == (1, ""), self
        assert self.err.count("\n") == 1, self.err
        return self.err.strip().removeprefix("CommandError: ").removeprefix("error: ")

    def misused(self) -> str:
        """The last line of wrong usage: nothing on stdout, status 2."""
        assert (self.status, self.out) == (2, ""), self
        return self.err.strip().splitlines()[-1]


def manage(*arguments: object) -> Done:
    """``manage.py ARGUMENTS``."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main(["manage.py", *map(str, arguments), "--no-color"])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return Done(status, out.getvalue(), err.getvalue())
