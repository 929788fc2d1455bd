"""Every transformation of NanoChat-D12, role by role."""

from __future__ import annotations

from specialists.proposers.catalog.catalogue import Catalogue
from specialists.proposers.catalog.library.nanochat_d12 import architecture, data, optimization, schedule, systems
from specialists.proposers.catalog.resources import TrainingShare, Units
from trials.vocab import Label

CATALOGUE = Catalogue(
    environment="nanochat_d12",
    libraries=(architecture.LIBRARY, optimization.LIBRARY, data.LIBRARY, schedule.LIBRARY, systems.LIBRARY),
    resources=(
        TrainingShare(),
        Units("eval_units", Label.EVAL_BUDGET_OVERRUN, "evaluate", 0.7, 4.0, "evaluation units"),
    ),
    stride=20.0,
    scatter=0.5,
    repairable=0.3,
    noise=0.05,
    unit=" core",
)
