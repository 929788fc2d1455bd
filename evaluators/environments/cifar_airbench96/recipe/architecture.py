"""The network: two convolutions with batch norm, each halving the picture, and a hidden layer."""

import itertools

import regularization
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS: tuple[int, ...] = (16, 32)
HIDDEN: int = 64
KERNEL: int = 3


class Stage(nn.Module):
    """Convolution, pooling to half the size, norm, activation; (B, C, H, W) -> (B, D, H / 2, W / 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, KERNEL, padding=KERNEL // 2, bias=False)
        self.norm = regularization.norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.norm(F.max_pool2d(self.convolution(x), 2)))


class Network(nn.Module):
    """Pictures (B, C, H, W) -> logits (B, classes)."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = (channels, *CHANNELS)
        self.stages = nn.Sequential(*(Stage(a, b) for a, b in itertools.pairwise(sizes)))
        shrunk = 2 ** len(CHANNELS)
        self.hidden = nn.Linear(CHANNELS[-1] * (height // shrunk) * (width // shrunk), HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = activate(self.hidden(self.stages(x).flatten(1)))
        return self.head(regularization.drop(hidden, self.training))


def activate(x: Tensor) -> Tensor:
    """The nonlinearity of every layer."""
    return F.relu(x)


def build_model(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network with torch's own initial weights, for pictures of shape (C, H, W)."""
    return Network(shape, classes)
