"""The workload by which recipes are timed: a small convolutional network, trained for four epochs; never changed.

It does the start's kind of work so that a machine that slows one slows the other alike. Its predictions do not count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

EPOCHS, BATCH = 4, 64


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


def train(ctx: Any) -> nn.Module:
    """Plain training at a constant rate."""
    images, labels = prepare(ctx.images), torch.from_numpy(ctx.labels)
    _, channels, height, width = images.shape
    model = build(height, width, channels, int(labels.max()) + 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(labels)), BATCH):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return model.eval()


def predict(model: nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits of each picture."""
    with torch.inference_mode():
        logits: npt.NDArray[np.float32] = torch.cat([model(part) for part in torch.split(prepare(images), 500)]).numpy()
    return logits
