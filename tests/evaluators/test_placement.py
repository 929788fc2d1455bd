"""Which devices a sandbox is shown: those that the context holds, under the driver's own numbers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from evaluators import devices
from evaluators.harness import placement
from evaluators.sandbox import Bounds

BOUNDS = Bounds(10.0, 10.0, 1 << 30, 1 << 20)
FIRST = devices.Accelerator(0, "Test 80GB", 80 << 30, "570.1", "GPU-aaaa")
SECOND = devices.Accelerator(1, "Test 80GB", 80 << 30, "570.1", "GPU-bbbb")


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A folder of device files, as the null device is one."""
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia2"):
        (folder / name).symlink_to("/dev/null")
    (folder / "nvidia-uvm-tools").write_bytes(b"no device")
    assert stat.S_ISCHR(os.stat(folder / "nvidia0").st_mode)
    return folder


def told(folder: Path, number: str, uuid: str, minor: int) -> None:
    (folder / number).mkdir(parents=True)
    (folder / number / "information").write_text(f"Model: Test\nGPU UUID:\t {uuid}\nDevice Minor: \t {minor}\n")


def test_nothing_changes_where_nothing_is_held() -> None:
    assert placement.on_devices(BOUNDS) is BOUNDS
    assert placement.visible() == ""


def test_files_go_by_the_minor_numbers_of_the_driver(dev: Path, tmp_path: Path) -> None:
    driver = tmp_path / "gpus"
    told(driver, "0000:01:00.0", "GPU-aaaa", 2)
    told(driver, "0000:02:00.0", "GPU-bbbb", 0)
    found = placement.files_of((FIRST, SECOND), dev=dev, driver=driver)
    assert [Path(name).name for name in found] == ["nvidiactl", "nvidia-uvm", "nvidia2", "nvidia0"]


def test_files_go_by_the_index_where_the_driver_is_silent(dev: Path, tmp_path: Path) -> None:
    found = placement.files_of((SECOND,), dev=dev, driver=tmp_path / "none")
    assert [Path(name).name for name in found] == ["nvidiactl", "nvidia-uvm", "nvidia1"]


def test_a_context_that_holds_devices_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "held", lambda: (FIRST, SECOND))
    placed = placement.on_devices(BOUNDS)
    assert (placed.visible, placed.address_space) == ("GPU-aaaa,GPU-bbbb", False)
    assert placed.wall_seconds == BOUNDS.wall_seconds
