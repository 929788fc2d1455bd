"""A database that was made once; tests copy it, which is faster than initdb."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoresearch_site import embedded
from tests.site.census import belonging, data_folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """A DATA_DIR with a database that nobody uses."""
    with data_folder() as folder:
        embedded.ensure(folder)
        embedded.release(folder)
        assert not belonging(folder)
        yield folder


@pytest.fixture
def data_dir(cluster: Path) -> Iterator[Path]:
    """A DATA_DIR of the test's own; its servers are stopped at the end."""
    with data_folder() as folder:
        copy_cluster(cluster, folder)
        try:
            yield folder
        finally:
            embedded.release(folder)


def copy_cluster(cluster: Path, folder: Path) -> None:
    shutil.copytree(cluster / "postgres", folder / "postgres")
    shutil.copy(cluster / "pgpass", folder / "pgpass")
