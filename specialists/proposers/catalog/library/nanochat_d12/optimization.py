"""Optimisation of NanoChat-D12: the optimiser, its groups, rates and moments."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.library.parameter_golf import hyperparameters, optimization
from specialists.proposers.catalog.transform import Band, Library, Settings

LIBRARY = Library("optimization", "optimization.py")
LIBRARY.adopt(optimization.LIBRARY, "muon", "table-rate", "fan-in-init", prior=Band.SOME)
LIBRARY.adopt(optimization.LIBRARY, "undecayed-tables", "short-memory", "nesterov-adam", "fused-update")
LIBRARY.adopt(hyperparameters.LIBRARY, "raise-rate", "lower-rate", "decay-by-rate")


@LIBRARY.idea(
    "momentum-warmup", "momentum", Band.UNCLEAR, "Jordan et al. 2024; Sutskever et al. 2013", marks=["momentum_at"]
)
def momentum_warmup(edit: Edit, settings: Settings) -> None:
    """Low momentum while gradients still turn quickly, high momentum later"""
    shared.ramp_momentum(edit, "update")


@LIBRARY.idea(
    "cautious-step",
    "update-filter",
    Band.UNCLEAR,
    "Liang et al. 2024 (Cautious optimizers)",
    marks=["careful_step"],
    train=1,
)
def cautious_step(edit: Edit, settings: Settings) -> None:
    """Updates that disagree with the present gradient are stale and better left out"""
    shared.step_carefully(edit, "update")
