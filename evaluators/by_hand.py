"""One recipe folder, judged as a campaign would judge it, with nothing written to the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluators import devices, preflight
from evaluators.contract import Environment, Profile, Progress
from evaluators.recording import as_record, finite


def evaluate(
    environment: Environment,
    profile: Profile,
    folder: Path,
    *,
    seed: int,
    level: str,
    report: Callable[[Progress], None],
) -> dict[str, Any]:
    """Preflight, measure on the validation split, judge; returns the report of ``manage.py evaluate --json``.

    Raises ValueError for a folder that is no recipe (a file too few or too many, a link, one that cannot be read or is
    too large), HarnessFault for faults of our own, devices.Unavailable when no accelerator is free.
    """
    source = preflight.read_folder(environment.spec, folder)
    preflight.refuse_strangers(environment.spec, folder)
    refused = preflight.check(environment.spec, source, parent=None, surface=())
    if refused is not None:
        measurement = preflight.measurement(refused, environment.spec, seed=seed, split="validation")
    else:
        with devices.hold(profile.device, profile.devices):
            measurement = environment.measure(
                source, profile=profile, seed=seed, split="validation", level=level, report=report
            )
    outcome = environment.judge(measurement, profile)
    record = as_record(measurement)
    return {
        "label": str(outcome.label),
        "reason": outcome.reason,
        "score": finite(outcome.score),
        "score_source": measurement.score_source,
        "artifact_bytes": measurement.artifact_bytes,
        "numbers": finite(outcome.numbers),
        "timings": {"seconds": record["seconds"], "cpu_seconds": record["cpu_seconds"]},
        "measurements": [record],
        "isolation": record["isolation"],
        "excerpt": measurement.excerpt,
    }
