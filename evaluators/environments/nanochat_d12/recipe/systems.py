"""How the work is done: the kernel of attention, one step in portions, prediction in windows, weights as bytes."""

import math
from collections.abc import Mapping

import numpy as np
import optimization
import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLIP: float = 1.0
#: Windows that pass through the model at once; the gradients of a batch are summed over its portions.
PORTION: int = 4
#: Tokens that a prediction sees: rows up to this length are read whole, longer ones in windows that overlap by half.
WINDOW: int = 64


def causal_mask(length: int) -> Tensor:
    """(T, T): 0 where a position may look, minus infinity where it may not."""
    return torch.full((length, length), float("-inf")).triu(1)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention, (B, H, T, D) each -> (B, H, T, D), with an explicit mask added to the scores."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    return (scores + causal_mask(query.size(2))).softmax(-1) @ value


def training_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats; logits (B, T, V), targets (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def step(model: nn.Module, optimizers: list[torch.optim.Optimizer], tokens: Tensor, fraction: float) -> None:
    """One update from a batch (B, T + 1) at a fraction of the run."""
    for portion in tokens.split(PORTION):
        share = portion.size(0) / tokens.size(0)
        (share * training_loss(model(portion[:, :-1]), portion[:, 1:])).backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimization.update(optimizers, fraction)


@torch.inference_mode()
def predict(model: nn.Module, tokens: Tensor, start: int) -> Tensor:
    """tokens (B, T) -> logits (B, T, V); row t scores token t from tokens before t only.

    Inputs are shifted by one; ``start`` stands where no token is known.
    """
    batch, length = tokens.shape
    inputs = F.pad(tokens, (1, -1), value=start)
    if length <= WINDOW:
        return model(inputs)
    stride = WINDOW // 2
    padded = F.pad(inputs, (WINDOW - stride, -length % stride), value=start)
    windows = padded.unfold(1, WINDOW, stride).flatten(0, 1)
    return model(windows)[:, -stride:].reshape(batch, length + -length % stride, -1)[:, :length]


def pack(state: Mapping[str, Tensor]) -> bytes:
    """State dictionary -> bytes: every tensor as float32, in the order of the state."""
    return b"".join(tensor.detach().float().contiguous().numpy().tobytes() for tensor in state.values())


def unpack(payload: bytes, template: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bytes -> state dictionary with the names, order and shapes of the template."""
    state: dict[str, Tensor] = {}
    at = 0
    for name, tensor in template.items():
        values = np.frombuffer(payload, dtype="<f4", count=tensor.numel(), offset=at)
        at += values.nbytes
        state[name] = torch.from_numpy(values.copy()).view(tensor.shape)
    return state
