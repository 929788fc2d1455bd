"""Every proposer by name: one explicit table."""

from __future__ import annotations

from specialists.proposals import Proposer
from specialists.proposers.catalog import CatalogProposer
from specialists.proposers.command import CommandProposer
from specialists.vocab import ProposerName

PROPOSERS: dict[str, Proposer] = {
    ProposerName.CATALOG: CatalogProposer(),
    ProposerName.COMMAND: CommandProposer(),
}
