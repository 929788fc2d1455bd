"""Recipes that cost almost nothing and land on an exact figure, made for measurements at the edge of a limit."""

from __future__ import annotations

from tests.evaluators import airbench, golf

#: Knows nothing (8 bits per byte) and trains nothing: the artifact's length and the units spent are what is asked for.
#: An operator costs 200,000 units + 20 per element, so any multiple of 20 can be spent to the unit.
GOLF_RECIPE = """
import numpy as np
import torch

ARTIFACT_BYTES = int("{artifact:08d}")
TRAIN_PERMILLE, TRAIN_MORE = {train}
EVAL_PERMILLE, EVAL_MORE = {evaluation}
LARGEST = 10**8


def spend(budget, permille, more):
    rest = budget.units * permille // 1000 + more - budget.spent()
    while permille and rest > 0:
        count = min(LARGEST, (rest - 200_000) // 20)
        torch.empty(count, dtype=torch.int8)
        rest -= 200_000 + 20 * count


def train(ctx):
    spend(ctx.budget, TRAIN_PERMILLE, TRAIN_MORE)
    return bytes(ARTIFACT_BYTES)


class Predictor:
    def __init__(self, budget):
        self.budget = budget

    def vocabulary(self):
        return [bytes([value]) for value in range(256)]

    def encode(self, text):
        return list(text)

    def logits(self, tokens):
        spend(self.budget, EVAL_PERMILLE, EVAL_MORE)
        return np.zeros((*tokens.shape, 256), dtype=np.float32)


def load(artifact, ctx):
    return Predictor(ctx.budget)
"""


def golf_spending(
    *, artifact: int = 1000, train: tuple[int, int] = (0, 0), evaluation: tuple[int, int] = (0, 0)
) -> dict[str, bytes]:
    """artifact: bytes of the payload. train, evaluation: thousandths of the budget of units, and units more."""
    text = GOLF_RECIPE.format(artifact=artifact, train=train, evaluation=evaluation)
    return {**golf.START, "recipe.py": text.encode()}


AIRBENCH_RECIPE = """
import numpy as np


def train(ctx):
    return {answer}


def predict(model, images):
    return np.tile(np.eye(10, dtype=np.float32)[model], (len(images), 1))
"""


def airbench_answering(answer: int) -> dict[str, bytes]:
    """Every image is of this class: the accuracy is the share of the class, to the image."""
    return {**airbench.START, "recipe.py": AIRBENCH_RECIPE.format(answer=answer).encode()}
