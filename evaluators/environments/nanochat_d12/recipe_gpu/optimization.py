"""How weights move: parameter groups, rates, the optimiser."""

import schedule
import torch
from torch import nn

LEARNING_RATE: float = 1e-3
WEIGHT_DECAY: float = 0.1
BETAS: tuple[float, float] = (0.9, 0.95)
EPSILON: float = 1e-8


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """True for the weight matrices inside blocks, False for embeddings and gains."""
    return parameter.ndim == 2 and "blocks" in name


def parameter_groups(model: nn.Module) -> list[dict[str, object]]:
    """Groups with their own peak rate and decay; gains are not decayed."""
    matrices = [p for n, p in model.named_parameters() if is_matrix(n, p)]
    tables = [p for n, p in model.named_parameters() if not is_matrix(n, p) and p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim < 2]
    return [
        {"params": matrices, "lr": LEARNING_RATE, "peak": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
        {"params": tables, "lr": LEARNING_RATE, "peak": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
        {"params": gains, "lr": LEARNING_RATE, "peak": LEARNING_RATE, "weight_decay": 0.0},
    ]


def make_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Every optimiser of the run; each group carries its peak rate under the key ``peak``."""
    return [torch.optim.AdamW(parameter_groups(model), betas=BETAS, eps=EPSILON)]


def update(optimizers: list[torch.optim.Optimizer], fraction: float) -> None:
    """One update at a fraction of the run; gradients are spent."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule.rate(fraction)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
