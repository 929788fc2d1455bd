"""A session's lease, renewed from a thread of its own while an agent works for minutes."""

from __future__ import annotations

import logging
import threading

from django.conf import settings
from django.db import close_old_connections, connections

from specialists import sessions
from specialists.models import Session
from trials.logcontext import thread

logger = logging.getLogger(__name__)
RENEW_SECONDS = min(5.0, settings.LEASE_SECONDS / 4)


class LeaseLost(RuntimeError):
    """Somebody else has closed the session, or its campaign has ended."""


class Lease:
    """Renews until the block ends; ``check`` tells whether it is still held."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lost = threading.Event()
        self._done = threading.Event()
        self._thread = thread(self._run, f"lease-{session.pk}")

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """Raises LeaseLost once the session no longer counts."""
        if self._lost.is_set():
            raise LeaseLost("the campaign ended, or the session lost its lease, while it worked")

    def _run(self) -> None:
        try:
            while not self._done.wait(RENEW_SECONDS):
                self._renew()
        finally:
            connections.close_all()  # of this thread; mostly there is none

    def _renew(self) -> None:
        try:
            held = sessions.renew(self._session)
        except Exception:  # a database that is away for a moment is no reason to give a session up
            logger.exception("the lease of session %s could not be renewed", self._session.pk)
            close_old_connections()
            return
        if not held:
            self._lost.set()
