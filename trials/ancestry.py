"""Ancestors of a trial at any depth in a number of steps that grows with the logarithm of the depth. Pure.

Each trial keeps, beside its parent, one farther ancestor: its *skip*. How far a skip reaches depends on the depth alone
(the last term of the depth written greedily as a sum of 2^k - 1: a skew-binary number, after E. W. Myers, "An
applicative random-access stack", 1983), so it is found from the parent's skip in one step and never changes.
"""

from __future__ import annotations


def skip_depth(depth: int) -> int:
    """Depth of the ancestor that a trial of this depth keeps as its skip; 0 for the root itself."""
    left, term = depth, 0
    while left:
        term = (1 << ((left + 1).bit_length() - 1)) - 1
        left -= term
    return depth - term


def skip_number(parent: int, parent_depth: int, skips_skip: int | None) -> int | None:
    """Number of the skip of a child of ``parent``; ``skips_skip`` is the skip of the parent's skip.

    None where the skip cannot be told because an ancestor was recorded without one: it is then walked by parents.
    """
    return parent if skip_depth(parent_depth + 1) == parent_depth else skips_skip
