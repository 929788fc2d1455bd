"""The lineage slice: the bounded evidence that one agent sees, and the exact text of it."""

from trials.lineage.build import build_slice
from trials.lineage.entries import Entry, Foretold, Headroom
from trials.lineage.likeness import Alike, alike_trials
from trials.lineage.policy import best_trial, told_of_twin, visible_trials
from trials.lineage.queries import (
    CHAIN_FIRST,
    CHAIN_LAST,
    CHILDREN_ROWS,
    FAILED_ROWS,
    HELD_ROWS,
    LEADERBOARD_ROWS,
    RECENT_ROWS,
)
from trials.lineage.render import BUDGETS, tokens
from trials.lineage.slices import LineageSlice

__all__ = [
    "BUDGETS",
    "CHAIN_FIRST",
    "CHAIN_LAST",
    "CHILDREN_ROWS",
    "FAILED_ROWS",
    "HELD_ROWS",
    "LEADERBOARD_ROWS",
    "RECENT_ROWS",
    "Alike",
    "Entry",
    "Foretold",
    "Headroom",
    "LineageSlice",
    "alike_trials",
    "best_trial",
    "build_slice",
    "tokens",
    "told_of_twin",
    "visible_trials",
]
