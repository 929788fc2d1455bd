"""The random control: its choice is the seed's alone, inside the surface, and on the best."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping

from specialists.proposals import NoProposal, Proposal, Request
from specialists.proposers.catalog import RandomProposer
from tests.specialists.catalog_tools import GOLF, LIMITS, entry, view
from trials.lineage import LineageSlice

SHOWN = view([entry(0), entry(1, ["relu-squared"], label="keep", score=2.4, delta_vs_parent=-0.1)], best=1)


def ask(
    shown: LineageSlice = SHOWN, seed: int = 0, seen: Callable[[Mapping[str, str]], str | None] = lambda files: None
) -> Proposal | NoProposal:
    role = GOLF.roles["loss"]
    return RandomProposer().propose(
        Request(role, shown, lambda number: GOLF.start, seen, seed, LIMITS, "parameter_golf")
    )


def test_every_edit_of_the_role_comes_up_and_no_evidence_moves_the_choice() -> None:
    bare = view([entry(0), entry(1, label="keep", score=2.4)], best=1, policy="none")
    names: Counter[str] = Counter()
    for seed in range(120):
        made, again = ask(seed=seed), ask(bare, seed=seed)
        assert isinstance(made, Proposal) and made == again
        assert made.parent == 1 and set(made.files) == {"loss.py"} and made.expected_delta is None
        names.update(made.transforms)
    every = [
        transform.label(variant)
        for transform, variant in GOLF.every
        if transform.role == "loss" and not transform.repair
        and isinstance(transform.apply(GOLF.start, variant, random.Random(0)), dict)
    ]  # fmt: skip
    assert set(names) == set(every)
    expected = 120 / len(every)
    chi = sum((names[name] - expected) ** 2 / expected for name in every)
    assert chi < 2.5 * len(every)  # fixed seeds: this is arithmetic, not luck


def test_it_passes_over_what_was_measured_and_ends_when_all_was() -> None:
    first = ask()
    assert isinstance(first, Proposal)
    known = first.files["loss.py"]
    second = ask(seen=lambda files: "trial 1 had these" if files["loss.py"] == known else None)
    assert isinstance(second, Proposal) and second.transforms != first.transforms
    assert second.notes["passed"] == {first.transforms[0]: "trial 1 had these"}
    nothing = ask(seen=lambda files: "seen")
    assert isinstance(nothing, NoProposal) and "applies and is new" in nothing.reason


def test_without_a_measured_start_it_waits() -> None:
    answer = ask(LineageSlice("shared", "any", "lower", "val_bpb", None, None, None))
    assert isinstance(answer, NoProposal) and "no trial has been measured" in answer.reason
