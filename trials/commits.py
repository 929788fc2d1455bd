"""What is done after a commit: messages to workers and browsers, notes. One that fails is logged and stops no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction


def after_commit(act: Callable[..., object], *arguments: Any) -> None:
    """Have ``act(*arguments)`` done once the transaction has committed, in the order of the calls.

    A ``functools.partial`` given to ``on_commit`` does not do: Django names a hook that failed, a partial has no name,
    and the error that follows from that would stop the hooks after it and look like a failed write.
    """

    def hook() -> None:
        act(*arguments)

    hook.__qualname__ = getattr(act, "__qualname__", repr(act))
    transaction.on_commit(hook, robust=True)
