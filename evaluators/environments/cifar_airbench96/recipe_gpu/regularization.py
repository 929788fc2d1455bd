"""What keeps the network from fitting noise: norms, dropout, weight decay, averaging."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_MOMENTUM: float = 0.4
DROPOUT: float = 0.0
WEIGHT_DECAY: float = 1.3e-3
AVERAGE_EVERY: int = 5
AVERAGE_DECAY: float = 0.95


def norm(channels: int) -> nn.Module:
    """The norm behind each convolution; it shifts and does not scale."""
    layer = nn.BatchNorm2d(channels, momentum=NORM_MOMENTUM)
    layer.weight.requires_grad_(False)
    return layer


def drop(hidden: Tensor, training: bool) -> Tensor:
    """Dropout before the last layer."""
    return F.dropout(hidden, DROPOUT, training) if DROPOUT else hidden


def decayed(model: nn.Module, apart: nn.Parameter, bias_factor: float) -> list[tuple[list[nn.Parameter], float, float]]:
    """Parameters, the factor on their rate, and their decay at a factor of 1; ``apart`` is left out."""
    moving = [p for p in model.parameters() if p.requires_grad and p is not apart]
    weights, biases = [p for p in moving if p.ndim > 1], [p for p in moving if p.ndim <= 1]
    return [(weights, 1.0, WEIGHT_DECAY), (biases, bias_factor, WEIGHT_DECAY)]


def penalty(model: nn.Module) -> float | Tensor:
    """What is added to the loss of each step; nothing."""
    return 0.0


class Averaging:
    """Slow weights follow the fast ones, ever less, and every few steps the fast ones go on from there."""

    def __init__(self, model: nn.Module) -> None:
        self.fast = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
        self.slow = [value.detach().clone() for value in self.fast]
        self.steps = 0

    @torch.no_grad()
    def after_step(self, fraction: float) -> None:
        """Called when the weights have moved."""
        self.steps += 1
        if self.steps % AVERAGE_EVERY == 0:
            self._meet(1.0 - AVERAGE_DECAY**AVERAGE_EVERY * fraction**3)

    @torch.no_grad()
    def finish(self) -> None:
        """Called once when training is over; leaves in the model what predictions are made with."""
        self._meet(0.0)

    def _meet(self, share: float) -> None:
        """Slow weights take a share of the fast ones, none when it is 0; then both are the same."""
        for slow, fast in zip(self.slow, self.fast, strict=True):
            slow.lerp_(fast, share)
            fast.copy_(slow)
