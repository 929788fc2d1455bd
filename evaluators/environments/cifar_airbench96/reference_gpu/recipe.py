"""The workload by which recipes on an accelerator are timed: a plain convolutional network; never changed.

Large enough to keep a device busy, in the start's number format and memory layout. Its predictions do not count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

EPOCHS, BATCH, WIDTHS = 4, 1000, (128, 256, 512)


def build(side: int, channels: int, classes: int) -> nn.Module:
    """Pictures (B, C, side, side) -> logits."""
    layers: list[nn.Module] = []
    for width in WIDTHS:
        for inputs in (channels, width):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * (side // 8) ** 2, classes))


def prepare(images: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """uint8 (N, H, W, C) -> float (N, C, H, W), channels last in memory."""
    return (torch.from_numpy(images).to(device).float() / 128.0 - 1.0).permute(0, 3, 1, 2)


def precision(device: torch.device) -> torch.autocast:
    """Half of the bits on an accelerator, all of them elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu")


def train(ctx: Any) -> nn.Module:
    """Plain training at a constant rate."""
    device = torch.device(ctx.device)
    images, labels = prepare(ctx.images, device), torch.from_numpy(ctx.labels).to(device)
    _, channels, side, _ = images.shape
    model: nn.Module = build(side, channels, int(labels.max()) + 1).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub knows no memory_format for modules
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(labels), device=device), BATCH):
            with precision(device):
                loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return model.eval()


def predict(model: nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Logits of each picture."""
    device = next(model.parameters()).device
    with torch.inference_mode(), precision(device):
        logits = torch.cat([model(part) for part in torch.split(prepare(images, device), 2000)])
    found: npt.NDArray[np.float32] = logits.float().cpu().numpy()
    return found
