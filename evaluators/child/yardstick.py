"""What a compute unit costs in CPU seconds here and now: slices of plain training, run on request.

Runs in a sandbox of its own that never sees a recipe, beside the one that does, so that its figures can be believed and
a slow spell of the machine is in both.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import frames
import torch
from frames import Kind
from meter import Meter

ROWS, LENGTH, WIDTH, HEADS, VOCABULARY = 16, 64, 96, 4, 512
STEPS = 1


class Block(torch.nn.Module):
    """One plain transformer block: attention and a GELU layer of four times the width."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.up, self.down = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(ROWS, LENGTH, WIDTH) -> the same."""
        split = self.mix(torch.nn.functional.rms_norm(x, (WIDTH,))).view(ROWS, LENGTH, 3, HEADS, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(ROWS, LENGTH, WIDTH))
        hidden = torch.nn.functional.gelu(self.up(torch.nn.functional.rms_norm(x, (WIDTH,))))
        mixed_in: torch.Tensor = x + self.down(hidden)
        return mixed_in


def training() -> Callable[[], None]:
    """A model, its optimiser and made-up tokens; returns one step of training."""
    torch.manual_seed(0)
    embedding, block = torch.nn.Embedding(VOCABULARY, WIDTH), Block()
    weights = [*embedding.parameters(), *block.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=1e-3)
    tokens = torch.randint(VOCABULARY, (ROWS, LENGTH + 1))

    def step() -> None:
        logits = block(embedding(tokens[:, :-1])) @ embedding.weight.T
        loss = torch.nn.functional.cross_entropy(logits.view(-1, VOCABULARY), tokens[:, 1:].reshape(-1))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()

    return step


def serve(settings: Mapping[str, Any], incoming: int, outgoing: int) -> None:
    """Answer each SLICE with the units that it counted (u64) and its CPU seconds (f64)."""
    torch.set_num_threads(int(settings["threads"]))
    meter, step = Meter(float("inf"), lambda _units: float("inf")), training()
    with meter:
        step()  # the first one allocates
        while frames.next_frame(incoming) is not None:
            before, began = meter.units, time.process_time()
            for _ in range(STEPS):
                step()
            used = struct.pack("<Qd", meter.units - before, time.process_time() - began)
            frames.write_frame(outgoing, Kind.SLICED, used)
