"""Sizes and rates that several files read: the shape of the whole run in one place."""

WIDTH: int = 512
LAYERS: int = 7
HEADS: int = 8
MLP_RATIO: int = 2

CONTEXT: int = 1024
#: Windows of one step, of all devices together; each device computes at most WINDOWS_AT_ONCE of them at a time.
BATCH: int = 512
WINDOWS_AT_ONCE: int = 32

#: The type in which devices multiply; weights and sums stay float32. "float32" for none other.
PRECISION: str = "bfloat16"

LEARNING_RATE: float = 1e-3
WEIGHT_DECAY: float = 0.1

# Training stops at this share of the budget of seconds, so that packing fits into it as well.
TRAIN_SHARE: float = 0.97
