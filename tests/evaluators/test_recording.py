"""Figures that JSON does not have are stored as words: no recipe can make a measurement that cannot be posted."""

from __future__ import annotations

import json
import math

from evaluators.contract import Measurement
from evaluators.recording import as_record
from trials.canonical import dumps
from trials.vocab import Label


def test_figures_that_are_not_finite_become_words() -> None:
    numbers: dict[str, float | int | str] = {"largest_move": math.inf, "low": -math.inf, "odd": math.nan, "row": 0}
    found = Measurement(
        Label.INVALID_RESULT,
        "not causal",
        0,
        "validation",
        score=math.nan,
        numbers=numbers,
        isolation={"a": [math.inf]},
    )
    record = json.loads(dumps(as_record(found)))
    assert record["numbers"] == {"largest_move": "inf", "low": "-inf", "odd": "nan", "row": 0}
    assert (record["score"], record["isolation"], "log" in record) == (None, {"a": ["inf"]}, False)
    again = Measurement(**record)
    assert as_record(again) == record
