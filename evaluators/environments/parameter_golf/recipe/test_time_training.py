"""Learning from text that has already been scored. The start does not."""

from collections.abc import Callable

from torch import Tensor, nn

Adapter = Callable[[Tensor], None]


def make_adapter(model: nn.Module) -> Adapter | None:
    """A function that is handed each scored chunk of tokens (B, T), or None when nothing is learnt from it."""
    return None
