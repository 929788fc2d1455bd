"""What a log line is about: ids are bound where work begins and stand on every line that is written meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context

#: Ids in the order in which a line shows them.
NAMES = ("task", "campaign", "trial", "session", "evaluation", "study")
_ids: ContextVar[Mapping[str, str | int]] = ContextVar("log_ids", default={})  # noqa: B039 - never changed in place


@contextmanager
def about(**ids: str | int) -> Iterator[None]:
    """Lines within the block carry these ids beside those that are bound already."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def begin(**ids: str | int) -> None:
    """From now on lines of this thread carry these ids and no others."""
    _ids.set(ids)


def bound() -> dict[str, str | int]:
    """The ids of a line that would be written now."""
    now = _ids.get()
    return {name: now[name] for name in NAMES if name in now}


def thread(target: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread whose lines are about the same."""
    return threading.Thread(target=copy_context().run, args=(target,), name=name, daemon=True)


class Ids(logging.Filter):
    """Puts the ids on every record, for formatters."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.ids = bound()
        return True
