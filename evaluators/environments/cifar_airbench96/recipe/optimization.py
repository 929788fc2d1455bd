"""How weights move: epochs, batches, parameter groups, the optimiser, the schedule."""

import math
from collections.abc import Iterator

import regularization
import torch
from torch import Tensor, nn

EPOCHS: float = 7.0
BATCH: int = 64
LEARNING_RATE: float = 0.1
MOMENTUM: float = 0.9
WARMUP: float = 0.0


def batches(count: int) -> Iterator[tuple[Tensor, float]]:
    """Indices of each batch, and the fraction of training that is behind it; every epoch in a new order."""
    total = round(EPOCHS * count / BATCH)
    order, at = torch.randperm(count), 0
    for done in range(total):
        if at + BATCH > count:
            order, at = torch.randperm(count), 0
        yield order[at : at + BATCH], done / total
        at += BATCH


def schedule(fraction: float) -> float:
    """Share of the peak rate: linear warm-up, then a cosine to zero."""
    if fraction < WARMUP:
        return fraction / WARMUP
    return 0.5 * (1.0 + math.cos(math.pi * (fraction - WARMUP) / (1.0 - WARMUP)))


def parameter_groups(model: nn.Module) -> list[dict[str, object]]:
    """Groups with their own peak rate and decay."""
    return [
        {"params": parameters, "lr": LEARNING_RATE, "peak": LEARNING_RATE, "weight_decay": decay}
        for parameters, decay in regularization.decayed(model)
    ]


def make_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Every optimiser of the run; each group carries its peak rate under the key ``peak``."""
    return [torch.optim.SGD(parameter_groups(model), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True)]


def step(optimizers: list[torch.optim.Optimizer], fraction: float) -> None:
    """One update at a fraction of training; gradients are spent."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(fraction)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
