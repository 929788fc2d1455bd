"""Skips: where they lead, and how few steps they leave."""

from __future__ import annotations

import math

from trials.ancestry import skip_depth, skip_number


def test_skips_made_one_by_one_lead_where_the_depth_says() -> None:
    """Numbers of a chain are given out of order, so that a number is never mistaken for a depth."""
    numbers = [(depth * 7919) % 5003 for depth in range(5001)]
    skips: list[int | None] = [None]
    depth_of = {number: depth for depth, number in enumerate(numbers)}
    for depth in range(1, len(numbers)):
        parent_skip = skips[depth - 1]
        beyond = None if parent_skip is None else skips[depth_of[parent_skip]]
        skips.append(skip_number(numbers[depth - 1], depth - 1, beyond))
    assert all(skips[depth] == numbers[skip_depth(depth)] for depth in range(1, len(numbers)))


def test_every_ancestor_is_reached_in_logarithmically_many_steps() -> None:
    for depth in (1, 2, 3, 100, 1023, 4999, 5000, 1_000_000):
        for target in {0, 1, depth // 3, depth // 2, depth - 1}:
            at, steps = depth, 0
            while at > target:
                at = skip_depth(at) if skip_depth(at) >= target else at - 1
                steps += 1
            assert at == target
            assert steps <= 3 * math.log2(depth + 1) + 1, (depth, target, steps)
