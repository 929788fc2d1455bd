"""Every submitted trial is there once, with one outcome or none yet; counters and frontier follow from the events."""

from __future__ import annotations

from collections.abc import Iterator

from trials.invariants.ledger import AT_ONCE, Told
from trials.invariants.violation import Violation
from trials.models import Campaign, FrontierStep, Trial
from trials.vocab import LIVE_CAMPAIGN_STATES, OPEN_TRIAL_STATES, Label, TrialState

CLOSE = 1e-12
"""Relative difference of two sums of the same numbers in another order."""


def check_trials(campaign: Campaign, told: Told) -> Iterator[Violation]:
    """Numbers are dense; a finished trial has exactly one outcome event, which says what its row says."""
    expected = 0
    rows = Trial.objects.of(campaign.pk).order_by("number")
    for number, state, label, standing, score in rows.values_list(
        "number", "state", "label", "standing", "score"
    ).iterator(chunk_size=AT_ONCE):
        if number != expected:
            yield Violation(campaign.slug, "numbers", f"trial {expected} is missing, {number} follows")
        expected = number + 1
        if told.submitted[number] != 1:
            what = f"trial {number} has {told.submitted[number]} events of its submission, expected 1"
            yield Violation(campaign.slug, "numbers", what)
        for what in _outcome(campaign, told, number, state, (label, standing, score)):
            yield Violation(campaign.slug, "outcomes", f"trial {number} {what}")
    if campaign.last_number != expected - 1:
        what = f"the campaign counts trials up to {campaign.last_number}, there are {expected - 1}"
        yield Violation(campaign.slug, "numbers", what)
    for number in sorted(told.submitted.keys() - range(expected)):
        yield Violation(campaign.slug, "numbers", f"trial {number} was submitted and is not there")


def _outcome(
    campaign: Campaign, told: Told, number: int, state: str, row: tuple[str, str, float | None]
) -> Iterator[str]:
    """What is wrong with the outcome of one trial, in words."""
    label, standing, score = row
    wanted = int(state == TrialState.FINISHED)
    if told.closed[number] != wanted:
        yield f"is {state} and has {told.closed[number]} final outcomes, expected {wanted}"
    elif wanted and told.finished[number] != (label, score):
        yield f"is {label} {score} and was recorded as {' '.join(map(str, told.finished[number]))}"
    elif wanted and told.standing[number] != standing:
        yield f"stands as {standing}, its events say {told.standing[number]}"
    if state in OPEN_TRIAL_STATES and campaign.state not in LIVE_CAMPAIGN_STATES:
        yield f"is {state} in a campaign that is {campaign.state}"


def check_counters(campaign: Campaign, told: Told) -> Iterator[Violation]:
    """What the campaign's row counts, and the frontier, are what the events add up to."""
    best_number, best = told.crowned[-1] if told.crowned else (None, None)
    found_best = None if campaign.best_trial is None else campaign.best_trial.number
    keeps = sum(standing == Label.KEEP for standing in told.standing.values())
    pairs = {
        "trial_count": (campaign.trial_count, told.counted),
        "keep_count": (campaign.keep_count, keeps),
        "crossing_count": (campaign.crossing_count, told.crossings),
        "repeat_count": (campaign.repeat_count, told.repeats),
        "recorded_number": (campaign.recorded_number, max(told.finished, default=-1)),
        "best trial": (found_best, best_number),
    }
    for name, (found, expected) in pairs.items():
        if found != expected:
            yield Violation(campaign.slug, "counters", f"{name} is {found}, the events say {expected}")
    for name, score, wanted in (
        ("start_score", campaign.start_score, told.start),
        ("best_score", campaign.best_score, best),
    ):
        if not _same(score, wanted):
            yield Violation(campaign.slug, "counters", f"{name} is {score}, the events say {wanted}")
    steps = list(FrontierStep.objects.filter(campaign=campaign).order_by("pk").values_list("number", "score"))
    if [number for number, _ in steps] != [number for number, _ in told.crowned] or not all(
        _same(step[1], crowned[1]) for step, crowned in zip(steps, told.crowned, strict=False)
    ):
        what = f"it has {len(steps)} steps: {steps[-3:]}, the events say {len(told.crowned)}: {told.crowned[-3:]}"
        yield Violation(campaign.slug, "frontier", what)


def _same(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return abs(found - expected) <= CLOSE * max(abs(found), abs(expected))
