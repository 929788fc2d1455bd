"""What training minimises."""

from torch import Tensor
from torch.nn import functional as F


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every token in nats; logits (B, T, V), targets (B, T) -> (B * T,)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")


def reduce(losses: Tensor, targets: Tensor, fraction: float) -> Tensor:
    """Losses of tokens (B * T,) -> one number."""
    return losses.mean()


def training_loss(logits: Tensor, targets: Tensor, fraction: float) -> Tensor:
    """Loss of one batch at a fraction of the budget."""
    return reduce(token_losses(logits, targets), targets, fraction)
