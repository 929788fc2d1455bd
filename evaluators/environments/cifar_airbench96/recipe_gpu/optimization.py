"""How weights move: epochs, batches, parameter groups, the optimiser, the schedule."""

from collections.abc import Iterator

import regularization
import torch
from torch import Tensor, nn

EPOCHS: float = 40.0
BATCH: int = 1024
LEARNING_RATE: float = 1.2
BIAS_FACTOR: float = 64.0
MOMENTUM: float = 0.85
START: float = 0.2
PEAK: float = 0.23
END: float = 0.07
WHITENING_BIAS_EPOCHS: float = 3.0


def batches(count: int, device: torch.device) -> Iterator[tuple[Tensor, int, float]]:
    """Indices of each batch, its epoch, and the fraction of training behind it; every epoch in a new order."""
    size = min(BATCH, count)
    per_epoch = count // size
    total = max(1, round(EPOCHS * per_epoch))
    for done in range(total):
        epoch, at = divmod(done, per_epoch)
        if at == 0:
            order = torch.randperm(count, device=device)
        yield order[at * size : (at + 1) * size], epoch, done / total


def schedule(fraction: float) -> float:
    """Share of the peak rate: up in a straight line, then down in one."""
    if fraction < PEAK:
        return START + (1.0 - START) * fraction / PEAK
    return 1.0 + (END - 1.0) * (fraction - PEAK) / (1.0 - PEAK)


def parameter_groups(model: nn.Module) -> list[dict[str, object]]:
    """Groups with their own peak rate and decay; ``until`` is the fraction of training after which a group rests."""
    whitening = model.whiten.bias
    groups = [
        {"params": parameters, "peak": LEARNING_RATE * factor, "weight_decay": decay / factor, "until": 1.0}
        for parameters, factor, decay in regularization.decayed(model, whitening, BIAS_FACTOR)
    ]
    rests = {"params": [whitening], "peak": LEARNING_RATE, "weight_decay": 0.0, "until": WHITENING_BIAS_EPOCHS / EPOCHS}
    return [*groups, rests]


def make_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Every optimiser of the run; each group carries its peak rate under the key ``peak``."""
    return [torch.optim.SGD(parameter_groups(model), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True)]


def step(optimizers: list[torch.optim.Optimizer], fraction: float) -> None:
    """One update at a fraction of training; gradients are spent."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(fraction) if fraction < group["until"] else 0.0
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
