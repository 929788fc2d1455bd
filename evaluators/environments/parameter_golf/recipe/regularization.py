"""Places where noise, averaging and penalties go. The start uses none of them beyond weight decay."""

import torch
from torch import Tensor, nn


def drop(x: Tensor, training: bool) -> Tensor:
    """What each branch passes through before it joins the stream; x: (B, T, width)."""
    return x


def penalty(model: nn.Module, logits: Tensor) -> Tensor | float:
    """Term added to the training loss."""
    return 0.0


class Averaging:
    """Sees the model around every update and says which weights are packed at the end."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def before_step(self, fraction: float) -> None:
        """Called with the gradients ready, before the update."""

    def after_step(self, fraction: float) -> None:
        """Called after the update."""

    def final_state(self) -> dict[str, Tensor]:
        """Weights that go into the artifact."""
        with torch.no_grad():
            return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
