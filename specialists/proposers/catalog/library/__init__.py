"""Every catalogue: a folder of libraries for each environment."""

from __future__ import annotations

from specialists.proposers.catalog.catalogue import Catalogue
from specialists.proposers.catalog.library import cifar_airbench96, nanochat_d12, parameter_golf

CATALOGUES: dict[str, Catalogue] = {
    catalogue.environment: catalogue
    for catalogue in (parameter_golf.CATALOGUE, nanochat_d12.CATALOGUE, cifar_airbench96.CATALOGUE)
}
