"""Prediction: how long a context the model sees at scoring time, and what happens to its logits."""

import hyperparameters
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW: int = hyperparameters.CONTEXT
STRIDE: int = hyperparameters.CONTEXT
TEMPERATURE: float = 1.0


def finish(logits: Tensor) -> Tensor:
    """Last word on the logits of a window (..., V)."""
    return logits / TEMPERATURE


def window_inputs(tokens: Tensor, start: int) -> Tensor:
    """tokens (B, T) -> model inputs (B * T / STRIDE, WINDOW): the last STRIDE positions of each are new.

    Inputs are shifted by one, so that position t sees tokens before t; ``start`` stands where no token is known.
    """
    inputs = F.pad(tokens, (1 + WINDOW - STRIDE, -1), value=start)
    return inputs.unfold(1, WINDOW, STRIDE).flatten(0, 1)


@torch.inference_mode()
def predict(model: nn.Module, tokens: Tensor, start: int) -> Tensor:
    """tokens (B, T) -> logits (B, T, V); row t scores token t from tokens before t only."""
    batch, length = tokens.shape
    padded = F.pad(tokens, (0, -length % STRIDE), value=start)
    logits = finish(model(window_inputs(padded, start)))[:, -STRIDE:]
    return logits.reshape(batch, padded.size(1), -1)[:, :length]
