"""Where the processes of a measurement run: a sandbox is shown the accelerators that its worker holds, no other."""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluators import devices
from evaluators.sandbox import Bounds

DEV = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/gpus")
#: What every program that computes on an NVIDIA device opens besides the device itself.
COMMON = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")


def visible() -> str:
    """CUDA_VISIBLE_DEVICES for what runs in this context: UUIDs, since CUDA may number devices otherwise."""
    return ",".join(one.uuid for one in devices.held())


def on_devices(bounds: Bounds) -> Bounds:
    """The bounds with the devices that this context holds; as they are on a CPU."""
    held = devices.held()
    if not held:
        return bounds
    return replace(bounds, address_space=False, devices=files_of(held), visible=visible())


def files_of(held: Sequence[devices.Accelerator], *, dev: Path = DEV, driver: Path = DRIVER) -> tuple[str, ...]:
    """The character devices of these accelerators that exist, by absolute path.

    A device file is numbered by the driver's minor number, which may differ from nvidia-smi's index.
    """
    minors = _minors(driver)
    names = [*COMMON, *(f"nvidia{minors.get(one.uuid, one.index)}" for one in held)]
    return tuple(str(dev / name) for name in names if _is_character_device(dev / name))


def _minors(driver: Path) -> dict[str, int]:
    """UUID -> minor number, as far as the driver tells."""
    found: dict[str, int] = {}
    for path in sorted(driver.glob("*/information")):
        said = path.read_text(errors="replace")
        uuid, minor = re.search(r"GPU UUID:\s*(\S+)", said), re.search(r"Device Minor:\s*(\d+)", said)
        if uuid is not None and minor is not None:
            found[uuid[1]] = int(minor[1])
    return found


def _is_character_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False
