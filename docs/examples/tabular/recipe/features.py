"""What the model sees of a row."""

import numpy as np


def of(rows: np.ndarray) -> np.ndarray:
    """Rows (N, 6) -> features (N, F)."""
    return np.concatenate([np.ones((len(rows), 1)), rows], axis=1)
