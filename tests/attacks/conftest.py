"""Honest measurements to compare with, and what must not be left on the host."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluators.contract import Measurement
from evaluators.sandbox.warm import warm_server
from tests.attacks import tiny
from trials.vocab import VALID


@pytest.fixture(autouse=True, scope="package")
def _airbench_starts_warm() -> Iterator[None]:
    """Torch is loaded once for the whole run; what a cold start does is tried elsewhere."""
    chosen = pytest.MonkeyPatch()
    chosen.setattr(tiny.SPEED_MODULE, "reach", tiny.warm)
    yield
    chosen.undo()


@pytest.fixture(scope="package")
def honest(_airbench_starts_warm: None) -> dict[str, Measurement]:
    """The tiny recipe of each environment, unchanged."""
    found = {}
    for name, arena in tiny.ARENAS.items():
        found[name], outcome = arena.measured({})
        assert outcome.label == VALID, (outcome.reason, found[name].excerpt)
    return found


@pytest.fixture(autouse=True, scope="package")
def _own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scratch folders of this run's sandboxes, apart from those of other programs."""
    tmp_path_factory.getbasetemp()  # made now, or it would lie in this folder and go with it
    folder = Path(tempfile.mkdtemp(prefix="attacks-"))
    folder.chmod(0o755)
    usual, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = usual
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _nothing_is_left(_own_folder: Path) -> Iterator[None]:
    """No file, shared memory or process of a sandbox outlives its measurement."""
    yield
    patience = time.monotonic() + 5
    while _traces(_own_folder) and time.monotonic() < patience:
        time.sleep(0.02)  # an ended process is reaped by the server that forked it
    assert _traces(_own_folder) == []


def _traces(folder: Path) -> list[str]:
    """What sandboxes of this process have left; every name that an attack uses outside holds the word."""
    places = ("/tmp", "/var/tmp", "/dev/shm", "/run", os.getcwd(), os.path.expanduser("~"))
    files = [f"{place}/{name}" for place in places for name in os.listdir(place) if "attacked" in name]
    below = warm_server().pid
    children = Path(f"/proc/{below}/task/{below}/children").read_text().split() if below else []
    return [*files, *map(str, folder.glob("autoresearch-*")), *(f"process {pid}" for pid in children)]
