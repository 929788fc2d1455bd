"""How the work is done: attention, one step in portions and over devices, prediction, weights as bytes."""

from collections.abc import Mapping

import numpy as np
import optimization
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

CLIP: float = 1.0
#: Windows that pass through the model at once; the gradients of a batch are summed over its portions.
PORTION: int = 16
#: The type in which devices multiply while they train; weights and sums stay float32. "float32" for none other.
PRECISION: str = "bfloat16"
#: Tokens that a prediction sees: rows up to this length are read whole, longer ones in windows that overlap by half.
WINDOW: int = 2048


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention, (B, H, T, D) each -> (B, H, T, D)."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def training_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats; logits (B, T, V), targets (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def precise(device: torch.device) -> torch.autocast:
    """Products in PRECISION."""
    kind = getattr(torch, PRECISION)
    return torch.autocast(device.type, dtype=kind, enabled=kind is not torch.float32)


def average_gradients(model: nn.Module, count: int) -> None:
    """The mean of the gradients of ``count`` processes, in each of them."""
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    distributed.all_reduce(flat)
    means = flat.div_(count).split([p.numel() for p in model.parameters()])
    for p, mean in zip(model.parameters(), means, strict=True):
        p.grad.copy_(mean.view_as(p))


def step(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], tokens: Tensor, fraction: float, count: int
) -> None:
    """One update of all ``count`` processes from this one's windows (B, T + 1) at a fraction of the run."""
    for portion in tokens.split(PORTION):
        share = portion.size(0) / tokens.size(0)
        with precise(tokens.device):
            logits = model(portion[:, :-1]).float()
        (share * training_loss(logits, portion[:, 1:])).backward()
    if count > 1:
        average_gradients(model, count)
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimization.update(optimizers, fraction)


@torch.inference_mode()
def predict(model: nn.Module, tokens: Tensor, start: int, first: int = 0) -> Tensor:
    """tokens (B, T) -> logits (B, T - first, V); row t scores token first + t from tokens before it only.

    Inputs are shifted by one; ``start`` stands where no token is known. Long rows are read from their last WINDOW
    tokens where the wanted ones have at least half of it in front of them.
    """
    batch, length = tokens.shape
    inputs, stride = F.pad(tokens, (1, -1), value=start), WINDOW // 2
    if length <= WINDOW or length - first <= stride:
        begin = max(0, length - WINDOW)
        return model(inputs[:, begin:], first - begin)
    padded = F.pad(inputs, (WINDOW - stride, -length % stride), value=start)
    windows = padded.unfold(1, WINDOW, stride).flatten(0, 1)
    whole = model(windows, WINDOW - stride).reshape(batch, length + -length % stride, -1)
    return whole[:, first:length]


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
