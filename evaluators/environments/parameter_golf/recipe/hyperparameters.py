"""Sizes and rates that several files read: the shape of the whole run in one place."""

WIDTH: int = 96
LAYERS: int = 2
HEADS: int = 4
MLP_RATIO: int = 4

CONTEXT: int = 64
BATCH: int = 16

VOCABULARY: int = 512

LEARNING_RATE: float = 6e-3
WEIGHT_DECAY: float = 0.1

# Training stops at this share of the unit budget; the evaluator allows 5 % over before it calls an overrun.
TRAIN_SHARE: float = 1.0
