"""Every transformation of Parameter Golf, role by role."""

from __future__ import annotations

from specialists.proposers.catalog.catalogue import Catalogue
from specialists.proposers.catalog.library.parameter_golf import (
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
from specialists.proposers.catalog.resources import Bytes, Units
from trials.vocab import Label

CATALOGUE = Catalogue(
    environment="parameter_golf",
    libraries=(
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
    ),
    resources=(
        Bytes(),
        Units("train_units", Label.TRAIN_BUDGET_OVERRUN, "train", 0.05, 0.5, "training units"),
        Units("eval_units", Label.EVAL_BUDGET_OVERRUN, "evaluate", 0.7, 4.0, "evaluation units"),
    ),
)
