"""Measured comparisons: ``python -m benchmarks.NAME [--quick] [--json]``, a table on screen and JSON in results/."""
