"""The budget of a training that the recipe lays out itself: CPU seconds beside a paired reference, or a wall clock.

What every scorer of NanoChat-D12 shares: how much of the budget is used, and the spelling that is asked for again.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping

import numpy as np

from evaluators.harness import scoring
from evaluators.harness.conversation import Conversation
from evaluators.harness.order import Order
from evaluators.harness.verdicts import Verdict
from evaluators.harness.wire import Wire
from trials.vocab import Label


class BudgetedTraining(Conversation):
    """A measurement whose training has a budget of time, and which asks two processes for predictions.

    spelt: tokens of every held-out piece of text, once the process that trained has spelt them.
    """

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.draw = np.random.default_rng(secrets.randbits(128))
        self.spelt: dict[bytes, scoring.Tokens] = {}

    def cpu_floor(self) -> float:
        """Training is bounded by its own budget; later phases are watched as everywhere."""
        return math.inf if self.phase == "train" else super().cpu_floor()

    def told_seconds(self, seconds: float) -> float:
        """The recipe is told its CPU budget in reference seconds: a constant, so that no step count follows a clock."""
        paired = self.phase == "train" and not self.limits.wallclock
        return self.number("cap_reference_seconds") if paired else seconds

    def budget_used(self, wire: Wire) -> float:
        """Share of the budget that training has used: its CPU seconds at what the reference pays, or its wall clock."""
        if self.limits.wallclock:
            return wire.clocks()[0] / self.limits.train_seconds
        nominal = self.number("nominal_seconds_per_gigaunit") / 1e9
        return wire.clocks()[1] * nominal / self.yardstick.cost() / self.number("cap_reference_seconds")

    def fraction(self, wire: Wire, budget: int | None) -> float:
        """Training: of its budget."""
        return self.budget_used(wire) if self.phase == "train" else super().fraction(wire, budget)

    def watch(self, wire: Wire, budget: int | None) -> None:
        """Training that is far over its budget is stopped. Raises Verdict."""
        super().watch(wire, budget)
        if (
            self.phase == "train"
            and not self.limits.wallclock
            and self.budget_used(wire) > (1 + self.limits.unit_tolerance) * self.number("slack")
        ):
            self._book_budget(wire)
            over_budget(self.record.numbers, self.limits.unit_tolerance)

    def trained(self, wire: Wire) -> None:
        """The artifact has arrived: what it cost is final. Raises Verdict when that is too much."""
        self._book_budget(wire)
        if not self.limits.wallclock:
            over_budget(self.record.numbers, self.limits.unit_tolerance)

    def _book_budget(self, wire: Wire) -> None:
        used = self.budget_used(wire)
        if self.limits.wallclock:
            self.record.numbers.update(budget_used=round(used, 4))
            return
        cap = self.number("cap_reference_seconds")
        self.record.numbers.update(
            budget_used=round(used, 4), train_reference_seconds=round(used * cap, 3), cap_reference_seconds=cap
        )

    def spell_again(self, wire: Wire) -> None:
        """A few pieces, alone: the process that spelt all of them could have written what it saw into the spelling."""
        pieces = list(self.spelt)
        sample = [pieces[i] for i in self.draw.permutation(len(pieces))[: int(self.number("spelt_again"))]]
        for piece, again in zip(sample, self.spell(wire, sample), strict=True):
            if not np.array_equal(again, self.spelt[piece]):
                raise Verdict(Label.INVALID_RESULT, "encode() spells the same bytes in two ways", {})


def over_budget(numbers: Mapping[str, float | int | str], tolerance: float) -> None:
    """Raises Verdict (train_budget_overrun, with the seconds over) when ``budget_used`` is beyond the tolerance."""
    share, used, cap = (
        float(numbers[name]) for name in ("budget_used", "train_reference_seconds", "cap_reference_seconds")
    )
    if share > 1 + tolerance:
        reason = f"{used:.2f} reference seconds of {cap:g}, {used - cap:.2f} over"
        over: dict[str, float | int | str] = {"seconds_over": round(used - cap, 3), "phase": "train"}
        raise Verdict(Label.TRAIN_BUDGET_OVERRUN, reason, {**numbers, **over})
