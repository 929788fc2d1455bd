"""Every transformation of airbench, role by role."""

from __future__ import annotations

from specialists.proposers.catalog.catalogue import Catalogue
from specialists.proposers.catalog.library.cifar_airbench96 import (
    architecture,
    augmentation,
    loss,
    optimization,
    regularization,
)
from specialists.proposers.catalog.resources import GateError

CATALOGUE = Catalogue(
    environment="cifar_airbench96",
    libraries=(
        architecture.LIBRARY,
        optimization.LIBRARY,
        augmentation.LIBRARY,
        loss.LIBRARY,
        regularization.LIBRARY,
    ),
    resources=(GateError(),),
    stride=20.0,
    scatter=0.5,
    repairable=0.3,
    noise=0.04,
    unit=" s",
)
