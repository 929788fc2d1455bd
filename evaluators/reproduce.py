"""One trial of a bundle, run again here: what was recorded, what is measured, and whether the two may be compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from evaluators import devices, preflight
from evaluators.contract import Environment, Measurement, Profile, Progress
from evaluators.recording import as_record, finite
from evaluators.registry import profile_of
from trials import keep
from trials.bundles.reading import Recorded
from trials.canonical import sha256_of
from trials.vocab import SCORED_LABELS, VALID

NOISE_SPAN = 2 * math.sqrt(2)
"""Two measurements of one recipe are within this many noise sd of each other 95 times in a hundred."""


def reproduce(recorded: Recorded, *, level: str, report: Callable[[Progress], None]) -> dict[str, Any]:
    """The report of ``manage.py reproduce --json``.

    within_noise: None where the scores cannot be compared. Raises LookupError for an environment or profile that is not
    here, HarnessFault for faults of our own, devices.Unavailable when no accelerator is free.
    """
    campaign = recorded.campaign
    environment, profile = profile_of(campaign["environment"], campaign["profile"])
    measurement = _measure(environment, profile, recorded, level, report)
    outcome = environment.judge(measurement, profile)
    record = as_record(measurement)
    label = VALID if recorded.row["label"] in SCORED_LABELS else recorded.row["label"]
    before, after = recorded.row["score"], finite(outcome.score)
    difference = None if before is None or after is None else after - before
    differs = not_comparable(recorded.measurement, record)
    if _rules(environment.spec.as_json(campaign["profile"])) != _rules(campaign["spec"]):
        differs.append("the environment's specification is another one here")
    same = label == str(outcome.label)
    return {
        "campaign": campaign["slug"],
        "trial": recorded.row["number"],
        "recorded": {"label": label, "reason": recorded.row["reason"], "score": before},
        "measured": {"label": str(outcome.label), "reason": outcome.reason, "score": after},
        "difference": difference,
        "noise_sd": campaign.get("noise_sd"),
        "within_noise": _within(same, difference, campaign.get("noise_sd"), bool(differs)),
        "not_comparable": differs,
        "seed": recorded.measurement["seed"],
        "fingerprint": record["fingerprint"],
        "isolation": record["isolation"],
        "excerpt": measurement.excerpt,
    }


def _measure(
    environment: Environment, profile: Profile, recorded: Recorded, level: str, report: Callable[[Progress], None]
) -> Measurement:
    seed, split = recorded.measurement["seed"], recorded.measurement["split"]
    refused = preflight.check(
        environment.spec, recorded.source, parent=recorded.parent_source, surface=recorded.row["surface"]
    )
    if refused is not None:
        return preflight.measurement(refused, environment.spec, seed=seed, split=split)
    with devices.hold(profile.device, profile.devices):
        return environment.measure(recorded.source, profile=profile, seed=seed, split=split, level=level, report=report)


def not_comparable(recorded: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """What differs between two measurements beside the recipe's doing: machine, evaluator's code, data."""
    machine = keep.other_machine(measured.get("fingerprint", {}), recorded.get("fingerprint", {}))
    differs = [f"another machine: {machine}"] if machine else []
    if recorded.get("evaluator_sha256") != measured.get("evaluator_sha256"):
        differs.append("the evaluator's code is another one here")
    if recorded.get("data_sha256") != measured.get("data_sha256"):
        differs.append("the data are others here")
    return differs


def _rules(spec: Mapping[str, Any]) -> str:
    """The hash of a specification without what says nothing of how it is measured."""
    return sha256_of({name: value for name, value in spec.items() if name not in ("licences", "synthetic")})


def _within(same: bool, difference: float | None, noise: float | None, differs: bool) -> bool | None:
    """Whether both runs agree. Without a known noise only equal scores do, and only on the same machine."""
    if not same:
        return None if differs else False
    if difference is None or difference == 0:
        return True
    if noise:
        return abs(difference) <= NOISE_SPAN * noise
    return None if differs else False
