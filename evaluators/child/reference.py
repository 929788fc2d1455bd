"""Fixed work on request, the same in every measurement: what CPU time is worth on this machine now.

A frozen plain transformer is trained for a number of steps. The evaluator takes the process's CPU time from outside,
before and behind a recipe's training; no byte of a recipe ever reaches this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import frames
import torch
from frames import Kind

VOCABULARY, WIDTH, HEADS, HIDDEN, LAYERS = 512, 96, 4, 384, 2
BATCH, LENGTH = 16, 64
RATE = 1e-2
WARM_STEPS = 6


class Work:
    """A network and one batch; never changed, so that figures of different dates can be compared.

    Plain gradient descent by hand: torch's optimisers would import two more seconds of code.
    """

    def __init__(self) -> None:
        torch.manual_seed(0)
        layer = torch.nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = torch.nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.mask = torch.nn.Transformer.generate_square_subsequent_mask(LENGTH)
        self.tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH + 1))
        self.parameters = [*self.embedding.parameters(), *self.blocks.parameters()]

    def run(self, steps: int) -> None:
        """Train for so many steps."""
        for _ in range(steps):
            hidden = self.blocks(self.embedding(self.tokens[:, :-1]), mask=self.mask)
            logits = hidden @ self.embedding.weight.T
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.tokens[:, 1:].flatten())
            gradients = torch.autograd.grad(loss, self.parameters)
            with torch.no_grad():
                for parameter, gradient in zip(self.parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=RATE)


def serve(settings: Mapping[str, Any], incoming: int, outgoing: int) -> None:
    """Warm up, then do the work each time it is asked for, until the evaluator closes the pipe."""
    torch.set_num_threads(int(settings["threads"]))
    work = Work()
    work.run(WARM_STEPS)
    frames.write_frame(outgoing, Kind.READY)
    while frames.next_frame(incoming) is not None:
        work.run(int(settings["steps"]))
        frames.write_frame(outgoing, Kind.WORKED)
