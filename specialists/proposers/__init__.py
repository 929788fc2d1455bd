"""Ways to turn a lineage slice into a proposal."""
