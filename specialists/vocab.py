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
