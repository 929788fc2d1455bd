"""Schedule of NanoChat-D12: how many steps the budget is spent on, and the rate over them.

Steps cost what they cost, so the scale of a number of steps is its expected log growth over the start's, in units of
``TrainingShare.growth``.
"""

from __future__ import annotations

import math

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.library.parameter_golf import optimization
from specialists.proposers.catalog.resources import TrainingShare
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("schedule", "schedule.py")
START = 6.5
LESS = 0.85


def _steps(rate: float) -> Variant:
    return Variant(f"{rate:g}", round(math.log(rate / START) / TrainingShare().growth, 2), {"rate": rate})


@LIBRARY.idea(
    "more-steps",
    "steps",
    Band.STRONG,
    "Hoffmann et al. 2022 (tokens for compute)",
    train=1,
    variants=[_steps(9.0), _steps(12.0), _steps(16.0), _steps(20.0)],
    sets=True,
    firm=True,
)
def more_steps(edit: Edit, settings: Settings) -> None:
    """Budget that is left over is worth most as further steps"""
    shared.set_number(edit, "STEPS_PER_SECOND", settings["rate"])


@LIBRARY.idea(
    "leave-room",
    "steps",
    Band.UNCLEAR,
    "none: a margin under the budget",
    train=-1,
    variants=[Variant("standard", round(-math.log(LESS) / TrainingShare().growth, 2))],
    repair=True,
    firm=True,
)
def leave_room(edit: Edit, settings: Settings) -> None:
    """Fewer steps bring a training that costs too much back under the budget"""
    edit.move("STEPS_PER_SECOND", f"{LESS * edit.number('STEPS_PER_SECOND'):.3g}", "leave-room")


@LIBRARY.idea("linear-to-zero", "decay-shape", Band.SOME, "Defazio et al. 2023", marks=["line_decay"])
def linear_to_zero(edit: Edit, settings: Settings) -> None:
    """A straight line to zero spends the last steps on averaging out noise"""
    shared.shape_decay(edit, "rate", "line", "", "A straight line to nothing.")


@LIBRARY.idea(
    "warmup-stable-decay",
    "decay-shape",
    Band.SOME,
    "Zhai et al. 2022; Hu et al. 2024 (MiniCPM)",
    marks=["plateau_decay"],
    variants=[Variant("late", 0.5, {"share": "0.3"}), Variant("early", 1.0, {"share": "0.6"})],
)
def warmup_stable_decay(edit: Edit, settings: Settings) -> None:
    """A plateau at the peak rate covers more ground before a linear cool-down"""
    shared.shape_decay(edit, "rate", "plateau", settings["share"], "Constant, then a straight line to nothing.")


@LIBRARY.idea("root-cooldown", "decay-shape", Band.UNCLEAR, "Haegele et al. 2024", marks=["root_decay"])
def root_cooldown(edit: Edit, settings: Settings) -> None:
    """A plateau with a 1 - sqrt cool-down drops the rate fast and ends gently"""
    shared.shape_decay(edit, "rate", "root", "0.5", "Constant, then one minus a square root.")


LIBRARY.adopt(optimization.LIBRARY, "warmup-length")


@LIBRARY.idea(
    "final-rate",
    "decay-floor",
    Band.UNCLEAR,
    "Bergsma et al. 2025 (decay to zero)",
    variants=[Variant("zero", 0.5, {"share": 0.0}), Variant("quarter", 1.0, {"share": 0.25})],
    sets=True,
)
def final_rate(edit: Edit, settings: Settings) -> None:
    """The rate at which the run ends decides how far the noise of the last steps is averaged out"""
    shared.set_number(edit, "FINAL_RATE", settings["share"])


@LIBRARY.idea("warm-restarts", "decay-shape", Band.DOUBTFUL, "Loshchilov and Hutter 2017 (SGDR)", marks=["CYCLES"])
def warm_restarts(edit: Edit, settings: Settings) -> None:
    """A rate that returns to its peak half-way leaves a basin that was entered too early"""
    edit.refuse_if(not edit.finds("rate", "(1.0 + math.cos(math.pi * progress))"), "the decay is no cosine any more")
    edit.add_constant("CYCLES: int = 2")
    edit.rewrite("rate", "math.pi * progress", "math.pi * (progress * CYCLES % 1.0 if progress < 1.0 else 1.0)")
