"""What the network sees: pixels as numbers, how training pictures vary, how a picture is looked at when it counts."""

import numpy as np
import torch
from torch import Tensor, nn

MEAN: float = 0.286
DEVIATION: float = 0.33
PREDICT_BATCH: int = 500


def prepare(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, C) -> normalised float (N, C, H, W)."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return (pixels.float() / 255.0 - MEAN) / DEVIATION


def augment(batch: Tensor, fraction: float) -> Tensor:
    """A batch of training pictures (B, C, H, W) at a fraction of training; as they are."""
    return batch


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of prepared pictures; one look at each."""
    return torch.cat([model(part) for part in images.split(PREDICT_BATCH)])
