"""How weights move: parameter groups, the optimiser, the schedule, the clip."""

import math
from collections.abc import Iterable

import hyperparameters
import torch
from torch import nn

BETAS: tuple[float, float] = (0.9, 0.999)
EPSILON: float = 1e-8
CLIP: float = 1.0
WARMUP: float = 0.05
FINAL_RATE: float = 0.1


def schedule(fraction: float) -> float:
    """Share of the peak rate at a fraction of the budget: linear warm-up, then a cosine to FINAL_RATE."""
    if fraction < WARMUP:
        return (fraction + 0.005) / (WARMUP + 0.005)
    progress = min(1.0, (fraction - WARMUP) / (1.0 - WARMUP))
    return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """True for the weight matrices inside blocks, False for embeddings and gains."""
    return parameter.ndim == 2 and "blocks" in name


def parameter_groups(model: nn.Module) -> list[dict[str, object]]:
    """Groups with their own peak rate and decay; gains are not decayed."""
    matrices = [p for n, p in model.named_parameters() if is_matrix(n, p)]
    tables = [p for n, p in model.named_parameters() if not is_matrix(n, p) and p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim < 2]
    rate, decay = hyperparameters.LEARNING_RATE, hyperparameters.WEIGHT_DECAY
    return [
        {"params": matrices, "lr": rate, "peak": rate, "weight_decay": decay},
        {"params": tables, "lr": rate, "peak": rate, "weight_decay": decay},
        {"params": gains, "lr": rate, "peak": rate, "weight_decay": 0.0},
    ]


def make_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Every optimiser of the run; each group carries its peak rate under the key ``peak``."""
    return [torch.optim.AdamW(parameter_groups(model), betas=BETAS, eps=EPSILON)]


def clip_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Bound the norm of the whole gradient."""
    nn.utils.clip_grad_norm_(parameters, CLIP)


def step(model: nn.Module, optimizers: list[torch.optim.Optimizer], fraction: float) -> None:
    """One update at a fraction of the budget; gradients are spent."""
    clip_gradients(model.parameters())
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(fraction)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
