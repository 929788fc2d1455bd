"""Every transformation of the catalogue, role by role."""

from __future__ import annotations

from specialists.proposers.catalog.library import (
    architecture,
    curriculum,
    evaluation,
    hyperparameters,
    loss,
    optimization,
    quantization,
    regularization,
    stream,
    test_time_training,
    tokenizer,
)
from specialists.proposers.catalog.transform import Transform, Variant

LIBRARIES = (
    architecture.LIBRARY,
    stream.LIBRARY,
    optimization.LIBRARY,
    quantization.LIBRARY,
    regularization.LIBRARY,
    loss.LIBRARY,
    evaluation.LIBRARY,
    curriculum.LIBRARY,
    tokenizer.LIBRARY,
    test_time_training.LIBRARY,
    hyperparameters.LIBRARY,
)
TRANSFORMS: tuple[Transform, ...] = tuple(transform for library in LIBRARIES for transform in library.transforms)
BY_NAME: dict[str, Transform] = {transform.name: transform for transform in TRANSFORMS}


def parse_label(label: str) -> tuple[Transform, Variant] | None:
    """A stored name (``name`` or ``name:variant``) -> transformation and variant; None when it is unknown."""
    name, _, wanted = label.partition(":")
    transform = BY_NAME.get(name)
    if transform is None:
        return None
    chosen = [variant for variant in transform.variants if variant.name == wanted or len(transform.variants) == 1]
    return (transform, chosen[0]) if chosen else None
