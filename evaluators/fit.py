"""Which worker may measure what. Pure: capabilities and needs in, a reason out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

GIB = 1 << 30
LOOPBACK_LEVEL = "L3"
"""The least that has a network namespace of its own: a profile whose ``settings.loopback`` is true needs it."""


class Capable(Protocol):
    """What is known of a worker (``trials.models.Worker``, ``trials.services.workers.Capability``)."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def devices(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def level(self) -> str: ...


@dataclass(frozen=True)
class Needs:
    """What a trial asks of a worker. memory_bytes: of the host for ``cpu``, of each device else; level: the least."""

    device: str
    devices: int
    memory_bytes: int
    level: str


def needs_of(profile: dict[str, Any], minimum_level: str) -> Needs:
    """From a campaign's frozen profile; one that was frozen before these fields existed asks for one device."""
    device = str(profile["device"])
    memory = profile["limits"]["memory_bytes"] if device == "cpu" else profile.get("device_memory_bytes", 0)
    level = max(minimum_level, LOOPBACK_LEVEL) if profile.get("settings", {}).get("loopback") else minimum_level
    return Needs(device, int(profile.get("devices", 1)), int(memory), level)


def misfit(worker: Capable, needs: Needs) -> str:
    """Why this worker may not measure it; empty when it may."""
    if worker.device != needs.device:
        return f"{worker.name} has {worker.device}, {needs.device} is needed"
    if worker.devices < needs.devices:
        return f"{worker.name} has {worker.devices} x {worker.device}, {needs.devices} are needed"
    if worker.memory_bytes < needs.memory_bytes:
        has, wants = worker.memory_bytes / GIB, needs.memory_bytes / GIB
        return f"{worker.name} has {has:.1f} GiB of memory, {wants:.1f} GiB are needed"
    if worker.level < needs.level:
        return f"{worker.name} reaches {worker.level or 'no isolation level'}, the campaign wants {needs.level}"
    return ""


def why_waiting(workers: Sequence[Capable], needs: Needs) -> str:
    """Why no live worker takes it: empty when one fits and is merely busy."""
    if not workers:
        return "no evaluator is running"
    reasons = [misfit(worker, needs) for worker in workers]
    if not all(reasons):
        return ""
    same_kind = [reason for worker, reason in zip(workers, reasons, strict=True) if worker.device == needs.device]
    if not same_kind:
        return f"no evaluator for {needs.device} is running"
    return "; ".join(dict.fromkeys(same_kind))
