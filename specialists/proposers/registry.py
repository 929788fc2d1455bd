"""Every proposer by name: one explicit table. Loaded at first use, so that the site imports no model client."""

from __future__ import annotations

from functools import cache

from django.utils.module_loading import import_string

from specialists.proposals import Proposer
from specialists.vocab import ProposerName

PROPOSERS: dict[str, str] = {
    ProposerName.CATALOG: "specialists.proposers.catalog.CatalogProposer",
    ProposerName.COMMAND: "specialists.proposers.command.CommandProposer",
    ProposerName.LLM: "specialists.proposers.llm.proposer.LlmProposer",
    ProposerName.RANDOM: "specialists.proposers.catalog.RandomProposer",
}


@cache
def get_proposer(name: str) -> Proposer:
    """The proposer of a campaign. Raises KeyError for a name that launch would have refused."""
    made: Proposer = import_string(PROPOSERS[name])()
    return made
