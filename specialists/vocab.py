"""States of agent sessions and names of proposers (standard library only)."""

from __future__ import annotations

from enum import StrEnum


class SessionState(StrEnum):
    RUNNING = "running"
    SUBMITTED = "submitted"
    NOTHING = "nothing"  # the role had no idea left
    FAILED = "failed"


class ProposerName(StrEnum):
    CATALOG = "catalog"
    COMMAND = "command"


#: Proposers that answer the same request with the same proposal, so that a session may be run again.
REPEATABLE = frozenset({ProposerName.CATALOG})
