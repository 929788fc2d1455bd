"""The workload by which recipes are timed on a processor: steps of a small convolutional network; never changed.

It does the start's kind of work so that a machine that slows one slows the other alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

BATCH = 64


def build(height: int, width: int, channels: int, classes: int) -> nn.Module:
    """Pictures (B, C, H, W) -> logits."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def prepare(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (N, H, W, C) -> float (N, C, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 128.0 - 1.0


def begin(ctx: Any) -> Callable[[], None]:
    """A network, its optimiser and shuffled batches without end; returns one step of plain training."""
    images, labels = prepare(ctx.images), torch.from_numpy(ctx.labels)
    _, channels, height, width = images.shape
    model = build(height, width, channels, int(labels.max()) + 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    order: list[torch.Tensor] = []

    def step() -> None:
        if not order:
            order.extend(torch.split(torch.randperm(len(labels)), BATCH))
        chosen = order.pop(0)
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
