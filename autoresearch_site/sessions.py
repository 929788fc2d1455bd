"""Sessions in the database, as Django keeps them, read by a prepared statement: every request begins with one."""

from __future__ import annotations

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone

from trials.statements import first


class SessionStore(db.SessionStore):
    """Named as Django's: the name is part of what signs a session, so that either reads what the other wrote."""

    def _get_session_from_db(self) -> Session | None:
        wanted = [self.session_key, timezone.now()]
        found = first(Session, "WHERE session_key = %s AND expire_date > %s", wanted)
        if found is None:
            self._session_key = None
        return found
