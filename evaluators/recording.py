"""A measurement as it is stored and printed: plain JSON, whatever figures a recipe has produced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from evaluators.contract import Measurement


def as_record(measurement: Measurement) -> dict[str, Any]:
    """Everything but the log, which is a blob of its own. A score that is not finite is none."""
    record = {each.name: finite(getattr(measurement, each.name)) for each in fields(measurement) if each.name != "log"}
    if measurement.score is not None and not math.isfinite(measurement.score):
        record["score"] = None
    return record


def finite(value: Any) -> Any:
    """The same with words for figures that JSON does not have: ``inf``, ``-inf``, ``nan``.

    A prediction may move by infinitely many nats; a measurement that cannot be stored would be the evaluator's fault.
    """
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
