"""Proposals without any language model: program transformations, chosen by the evidence of the lineage."""

from specialists.proposers.catalog.proposer import CatalogProposer, applies

__all__ = ["CatalogProposer", "applies"]
