"""Data of NanoChat-D12: the tokenizer, which text is read, in what portions and order."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.library.parameter_golf import curriculum, hyperparameters, tokenizer
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("data", "data.py")
LIBRARY.adopt(
    curriculum.LIBRARY,
    "smaller-batch",
    prior=Band.UNCLEAR,
    train=-1,
    variants=(Variant("half", 5.0, {"by": 2}), Variant("quarter", 9.0, {"by": 4})),
)
LIBRARY.adopt(curriculum.LIBRARY, "larger-batch", train=1, variants=(Variant("double", 6.0),))
LIBRARY.adopt(curriculum.LIBRARY, "length-ramp", train=-1, variants=(Variant("plain", 1.0, {"even": False}),))
LIBRARY.adopt(curriculum.LIBRARY, "document-balance", "line-starts", "stride-sweep", "piece-length")
LIBRARY.adopt(hyperparameters.LIBRARY, "context-for-batch")
LIBRARY.adopt(tokenizer.LIBRARY, "whitespace-runs", "apostrophe-words", "longest-match")


@LIBRARY.idea(
    "larger-vocabulary",
    "vocabulary-size",
    Band.SOME,
    "Sennrich et al. 2016; Tao et al. 2024",
    train=1,
    variants=[
        Variant("768", 0.7, {"tokens": 768}),
        Variant("1024", 1.0, {"tokens": 1024}),
        Variant("2048", 2.5, {"tokens": 2048}),
    ],
    sets=True,
)
def larger_vocabulary(edit: Edit, settings: Settings) -> None:
    """Longer tokens let the same number of positions cover more text"""
    shared.set_number(edit, "VOCABULARY", settings["tokens"])


@LIBRARY.idea(
    "smaller-vocabulary",
    "vocabulary-size",
    Band.DOUBTFUL,
    "Tao et al. 2024; Xue et al. 2022 (ByT5)",
    train=-1,
    evaluate=1,
    variants=[Variant("384", 0.5, {"tokens": 384}), Variant("bytes", 1.0, {"tokens": 256})],
    sets=True,
)
def smaller_vocabulary(edit: Edit, settings: Settings) -> None:
    """Fewer tokens train every embedding row more often"""
    shared.set_number(edit, "VOCABULARY", settings["tokens"])
