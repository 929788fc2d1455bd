"""Proposals without any language model: program transformations, chosen by the evidence of the lineage."""

from specialists.proposers.catalog.proposer import CatalogProposer, applies
from specialists.proposers.catalog.uninformed import RandomProposer

__all__ = ["CatalogProposer", "RandomProposer", "applies"]
