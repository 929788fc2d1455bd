"""What keeps the network from fitting noise: norms, dropout, weight decay, averaging."""

from torch import Tensor, nn
from torch.nn import functional as F

NORM_MOMENTUM: float = 0.1
DROPOUT: float = 0.0
WEIGHT_DECAY: float = 5e-4


def norm(channels: int) -> nn.Module:
    """The norm behind each convolution."""
    return nn.BatchNorm2d(channels, momentum=NORM_MOMENTUM)


def drop(hidden: Tensor, training: bool) -> Tensor:
    """Dropout before the last layer."""
    return F.dropout(hidden, DROPOUT, training) if DROPOUT else hidden


def decayed(model: nn.Module) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters with the weight decay of each group: matrices and kernels decay, gains and biases do not."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [(weights, WEIGHT_DECAY), (others, 0.0)]


def penalty(model: nn.Module) -> float | Tensor:
    """What is added to the loss of each step; nothing."""
    return 0.0


class Averaging:
    """Averages weights over training; the start keeps the last ones."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def after_step(self, fraction: float) -> None:
        """Called when the weights have moved."""

    def finish(self) -> None:
        """Called once when training is over; leaves in the model what predictions are made with."""
