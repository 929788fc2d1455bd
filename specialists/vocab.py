"""States of agent sessions and names of proposers (standard library only)."""

from __future__ import annotations

from enum import StrEnum


class SessionState(StrEnum):
    RUNNING = "running"
    SUBMITTED = "submitted"
    NOTHING = "nothing"  # the role had no idea left
    FAILED = "failed"


class Fault(StrEnum):
    """Why a session failed, where that says nothing of the role's ideas: such a role may work again at once."""

    PROVIDER = "provider"  # the model's provider failed or refused to serve
    MODEL = "model"  # what the model said could not be used
    BUDGET = "budget"  # turns, tokens or money are over
    WORKER = "worker"  # the process that ran it died or failed
    CAMPAIGN = "campaign"  # the campaign was stopped or took no further trial


class ProposerName(StrEnum):
    CATALOG = "catalog"
    COMMAND = "command"
    LLM = "llm"
    RANDOM = "random"  # the catalogue's edits, drawn without a look at any evidence: a control


#: Proposers that draw on the catalogue's edits.
CATALOGUED = frozenset({ProposerName.CATALOG, ProposerName.RANDOM})

#: Proposers that answer the same request with the same proposal, so that a session may be run again.
REPEATABLE = CATALOGUED


class StudyState(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"
