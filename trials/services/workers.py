"""Evaluator processes tell what they have; those that fall silent are forgotten after a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from trials import clock
from trials.worker_models import Worker

KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Capability:
    """What one evaluator process has; see the model for units."""

    name: str
    device: str
    device_name: str
    devices: int
    memory_bytes: int
    level: str
    details: Mapping[str, Any] = field(default_factory=dict)


def announce(found: Capability) -> None:
    """A worker has started, or is there again after its row was lost."""
    now = clock.now()
    values = {name: value for name, value in vars(found).items() if name != "name"}
    Worker.objects.update_or_create(name=found.name, defaults={**values, "started_at": now, "seen_at": now})
    Worker.objects.filter(seen_at__lt=now - KEPT).delete()


def seen(name: str) -> bool:
    """A sign of life; False when the row is gone and the worker has to announce itself again."""
    return bool(Worker.objects.filter(name=name).update(seen_at=clock.now()))


def leave(name: str) -> None:
    """A worker ends in good order."""
    Worker.objects.filter(name=name).delete()
