"""The network: fixed whitening filters, three stages of three convolutions, and a scaled linear head."""

import contextlib
import itertools

import regularization
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS: tuple[int, ...] = (128, 384, 512)
WHITENING_KERNEL: int = 2
WHITENING_IMAGES: int = 5000
WHITENING_FLOOR: float = 5e-4
HEAD_SCALE: float = 1 / 9


def precision(device: torch.device) -> contextlib.AbstractContextManager:
    """The number format of the network's arithmetic while it trains and predicts."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def activate(x: Tensor) -> Tensor:
    """The nonlinearity of every layer."""
    return F.gelu(x)


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3 x 3 convolution that passes its inputs on unchanged at first, as far as it has outputs for them."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[: min(inputs, outputs)])
    return layer


class Stage(nn.Module):
    """Half the side at a new width, then two convolutions with a way around; (B, C, H, W) -> (B, D, H / 2, W / 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second, self.third = (convolution(n, outputs) for n in (inputs, outputs, outputs))
        self.norms = nn.ModuleList(regularization.norm(outputs) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = activate(self.norms[0](F.max_pool2d(self.first(x), 2)))
        around = x
        x = activate(self.norms[1](self.second(x)))
        return activate(self.norms[2](self.third(x)) + around)


class Network(nn.Module):
    """Pictures (B, 3, 32, 32) -> logits (B, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        whitened = 2 * channels * WHITENING_KERNEL**2
        self.whiten = nn.Conv2d(channels, whitened, WHITENING_KERNEL)
        self.whiten.weight.requires_grad_(False)
        nn.init.zeros_(self.whiten.bias)
        sizes = (whitened, *WIDTHS)
        self.stages = nn.Sequential(*(Stage(a, b) for a, b in itertools.pairwise(sizes)))
        self.head = nn.Linear(WIDTHS[-1], classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(activate(self.whiten(x)))
        return self.head(regularization.drop(x.amax(dim=(2, 3)), self.training)) * HEAD_SCALE


@torch.no_grad()
def whitening(pictures: Tensor) -> Tensor:
    """Filters (2 x 12, 3, 2, 2) whose answers to patches of these pictures are uncorrelated; each with its negative."""
    channels, kernel = pictures.shape[1], WHITENING_KERNEL
    patches = F.unfold(pictures[:WHITENING_IMAGES].float(), kernel).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + WHITENING_FLOOR).sqrt()).T.reshape(-1, channels, kernel, kernel)
    return torch.cat([filters, -filters])


def build_model(pictures: Tensor, classes: int) -> nn.Module:
    """A network for pictures like these (N, C, H, W), on their device."""
    model = Network(pictures.shape[1], classes)
    model.whiten.weight.copy_(whitening(pictures).cpu())
    return model.to(pictures.device, memory_format=torch.channels_last)
