"""What the network sees: pixels as numbers, how training pictures vary, how a picture is looked at when it counts."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
DEVIATION: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
SHIFT: int = 4
HOLE: int = 12
PREDICT_BATCH: int = 2000


def prepare(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (N, H, W, C) -> normalised float (N, C, H, W), channels last in memory."""
    pixels = torch.from_numpy(images).to(device).float() / 255.0
    mean, deviation = (torch.tensor(values, device=device) for values in (MEAN, DEVIATION))
    return ((pixels - mean) / deviation).permute(0, 3, 1, 2)


class Pictures:
    """The training pictures, of which every epoch sees another version."""

    def __init__(self, pictures: Tensor) -> None:
        """pictures (N, C, H, W), prepared."""
        self.side = pictures.shape[-1]
        self.padded = F.pad(pictures, (SHIFT,) * 4, mode="reflect").permute(0, 2, 3, 1).contiguous()
        self.mirrored_first = torch.rand(len(pictures), device=pictures.device) < 0.5

    def batch(self, chosen: Tensor, epoch: int, fraction: float) -> Tensor:
        """The chosen pictures (B,) -> (B, C, H, W): shifted, mirrored in every second epoch, with a hole."""
        device = chosen.device
        count, steps = len(chosen), torch.arange(self.side, device=device)
        down, right = torch.randint(2 * SHIFT + 1, (2, count, 1), device=device)
        mirrored = self.mirrored_first[chosen] ^ bool(epoch % 2)
        columns = torch.where(mirrored[:, None], self.side - 1 - steps, steps)
        rows = (steps + down)[:, :, None]
        seen = self.padded[chosen[:, None, None], rows, (columns + right)[:, None, :]]
        return cut(seen.permute(0, 3, 1, 2))


def cut(pictures: Tensor) -> Tensor:
    """A square of HOLE pixels at a random place of each picture (B, C, H, W) becomes the mean colour."""
    side, device = pictures.shape[-1], pictures.device
    corner = torch.randint(side - HOLE + 1, (2, len(pictures), 1), device=device)
    steps = torch.arange(side, device=device)
    rows, columns = (steps >= corner) & (steps < corner + HOLE)
    return pictures.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def predict(model: nn.Module, pictures: Tensor) -> Tensor:
    """Logits of prepared pictures: the mean over each picture and its mirror image."""
    return torch.cat([model(part) + model(part.flip(3)) for part in pictures.split(PREDICT_BATCH)]) / 2
