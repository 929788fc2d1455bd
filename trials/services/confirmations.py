"""From provisional to keep or discard: confirmations of a locked campaign, opened, measured, decided, closed.

The recorded outcome stays as it was. The decision is a row and an event of their own, which point at the measurements.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trials import clock, confirm, keep
from trials.confirm import Look, Noise, Pair
from trials.models import Campaign, Confirmation, Evaluation, Measurement, Trial
from trials.services import approvals, standings
from trials.services.events import append_event
from trials.services.verdicts import JUDGE, Verdict, gate_of
from trials.vocab import (
    VALID,
    Answer,
    Direction,
    EvaluationState,
    EventKind,
    KeepRule,
    Label,
    Purpose,
    Ruling,
)

#: Outcomes that leave a seed without a comparison and say nothing against the candidate's idea by themselves.
NO_COMPARISON = frozenset({Label.DISQUALIFIED, Label.HARNESS_ABORT})


@dataclass(frozen=True)
class Seed:
    """One seed of a confirmation: the work orders of both recipes, None for one that is not ordered yet."""

    seed: int
    candidate: Evaluation | None
    incumbent: Evaluation | None

    @property
    def done(self) -> bool:
        return all(order is not None and order.state == EvaluationState.JUDGED for order in self.orders)

    @property
    def orders(self) -> tuple[Evaluation | None, Evaluation | None]:
        return self.candidate, self.incumbent

    @property
    def pair(self) -> Pair | None:
        """Both scores; None while one is missing, and where one measurement has none."""
        scores = [order.outcome.get("score") for order in self.orders if order is not None]
        valid = all(order is not None and order.outcome.get("label") == VALID for order in self.orders)
        return Pair(*scores) if valid else None

    @property
    def aborted(self) -> bool:
        return any(order is not None and order.outcome.get("label") == Label.HARNESS_ABORT for order in self.orders)


def seeds_of(confirmation: Confirmation) -> list[Seed]:
    """The seeds of a confirmation in the order in which they were ordered."""
    arms: dict[int, dict[int, Evaluation]] = {}
    for order in confirmation.evaluations.order_by("pk"):
        arms.setdefault(order.seed, {})[order.trial_id] = order
    return [
        Seed(seed, found.get(confirmation.trial_id), found.get(confirmation.incumbent_id))
        for seed, found in arms.items()
    ]


def open_confirmation(campaign: Campaign, trial: Trial) -> Confirmation:
    """A provisional trial begins to be measured beside the best."""
    assert campaign.best_trial is not None
    earlier = Confirmation.objects.filter(incumbent=campaign.best_trial).order_by("-id").values_list("part", flat=True)
    confirmation = Confirmation.objects.create(
        campaign=campaign,
        trial=trial,
        incumbent=campaign.best_trial,
        round=trial.confirmations.count() + 1,
        part=confirm.part_of_budget(earlier.first(), campaign.max_trials),
        opened_at=clock.now(),
    )
    payload = {
        "number": trial.number,
        "incumbent": campaign.best_trial.number,
        "round": confirmation.round,
        "part": confirmation.part,
    }
    append_event(campaign, EventKind.CONFIRMATION_OPENED, JUDGE, payload, trial)
    return confirmation


def record(campaign: Campaign, evaluation: Evaluation, measurement: Measurement, verdict: Verdict) -> None:
    """One measurement of a confirmation; the confirmation is closed when it decides."""
    confirmation = Confirmation.objects.select_related("trial", "trial__parent", "incumbent").get(
        pk=evaluation.confirmation_id
    )
    payload = {
        "number": measurement.trial.number,
        "candidate": confirmation.trial.number,
        "round": confirmation.round,
        "seed": evaluation.seed,
        "label": verdict.label,
        "reason": verdict.reason,
        "score": verdict.score,
        "measurement": measurement.sha256,
    }
    append_event(campaign, EventKind.CONFIRMATION_MEASURED, JUDGE, payload, measurement.trial)
    standings.trip_breaker(campaign)
    if not confirmation.ruling:
        _consider(campaign, confirmation)


def _consider(campaign: Campaign, confirmation: Confirmation) -> None:
    """Close the confirmation if what is measured decides it."""
    seeds = seeds_of(confirmation)
    for order in filter(None, (seed.candidate for seed in seeds)):
        label = order.outcome.get("label", VALID)
        if label != VALID and label not in NO_COMPARISON:
            reason = f"{label} with seed {order.seed}: {order.outcome['reason']}"
            _close(campaign, confirmation, Ruling.REFUTED, reason)
            return
    if not all(seed.done for seed in seeds):
        return
    pairs = [seed.pair for seed in seeds if seed.pair is not None]
    confirmation.pairs = len(pairs)
    confirmation.voids = sum(seed.pair is None and not seed.aborted for seed in seeds)
    if seeds[-1].pair is not None:
        _look(campaign, confirmation, pairs)
    elif confirmation.voids > confirm.MOST_VOID:
        reason = f"{confirmation.voids} seeds without a comparison: a gate was missed, or the best failed"
        _close(campaign, confirmation, Ruling.REFUTED, reason)
    else:
        confirmation.save()


def _look(campaign: Campaign, confirmation: Confirmation, pairs: Sequence[Pair]) -> None:
    found = confirm.look(pairs, noise_of(campaign), confirmation.part, Direction(campaign.direction))
    confirmation.gain, confirmation.z, confirmation.bound = found.gain, _finite(found.z), found.bound
    if found.ruling is None:
        confirmation.save()
        payload = {
            "number": confirmation.trial.number,
            "round": confirmation.round,
            "pairs": len(pairs),
            "gain": found.gain,
            "z": confirmation.z,
            "bound": found.bound,
        }
        append_event(campaign, EventKind.CONFIRMATION_LOOKED, JUDGE, payload, confirmation.trial)
        return
    ruling, reason = found.ruling, _told(found, len(pairs))
    gate = gate_of([order.outcome["numbers"] for order in _candidates(confirmation)])
    if ruling is Ruling.CONFIRMED and gate is not None and gate.deficit > 0:
        ruling, reason = Ruling.REFUTED, f"{gate.deficit:.5f} below the gate, in the mean over its seeds"
    if ruling is Ruling.CONFIRMED and campaign.approves_keeps:
        confirmation.reason = reason
        confirmation.save()
        approvals.ask_for_keep(campaign, confirmation.trial, statistics.fmean(pair.candidate for pair in pairs))
    else:
        _close(campaign, confirmation, ruling, reason)


def _told(found: Look, pairs: int) -> str:
    beside = f"{abs(found.gain):.6f} {'better' if found.gain > 0 else 'worse'} than the best over {pairs} seed"
    beside += "" if pairs == 1 else "s"
    return f"{beside}: z {found.z:.2f}, {found.bound:.2f} is needed"


def _finite(z: float) -> float:
    """A z that can be stored; scores that do not scatter at all give an infinite one."""
    return max(-1e9, min(1e9, z))


def noise_of(campaign: Campaign) -> Noise:
    """Raises ValueError for a campaign that is not calibrated."""
    if campaign.noise_sd is None:
        raise ValueError(f"campaign {campaign.slug} is not calibrated")
    return Noise(campaign.noise_sd, campaign.noise_df)


def _candidates(confirmation: Confirmation) -> list[Evaluation]:
    """The candidate's own measurements with a judgement."""
    return [seed.candidate for seed in seeds_of(confirmation) if seed.candidate is not None and seed.candidate.outcome]


def close_asked(campaign: Campaign, trial: Trial, ruling: Ruling) -> None:
    """A person has answered: the test had confirmed the trial, and it becomes the best, or is refused."""
    found = Confirmation.objects.select_related("trial", "trial__parent", "incumbent")
    confirmation = found.get(trial=trial, ruling="")
    reason = confirmation.reason if ruling is Ruling.CONFIRMED else f"{confirmation.reason}; a person refused it"
    _close(campaign, confirmation, ruling, reason)


def _close(campaign: Campaign, confirmation: Confirmation, ruling: Ruling, reason: str) -> None:
    """Write the decision and what follows from it: standing, rollups, frontier, the other confirmations."""
    now, trial = clock.now(), confirmation.trial
    ended = Answer.ABANDONED if ruling is Ruling.ABANDONED else Answer.OVERTAKEN
    approvals.close_of(campaign, trial, ended, actor=JUDGE)  # where a person was asked and has not answered
    seeds = seeds_of(confirmation)
    pairs = [seed.pair for seed in seeds if seed.pair is not None]
    _cancel(confirmation)
    before = noise_of(campaign)
    noise = confirm.pooled(before, pairs) if pairs else before
    campaign.noise_sd, campaign.noise_df = noise.sd, noise.df
    confirmation.ruling, confirmation.reason, confirmation.closed_at = ruling, reason[:300], now
    confirmation.pairs = len(pairs)
    confirmation.numbers = _numbers(confirmation, seeds, before)
    confirmation.save()
    if ruling is Ruling.CONFIRMED:
        standings.settle(campaign, trial, Label.KEEP)
        standings.crown(campaign, trial, statistics.fmean(pair.candidate for pair in pairs), now)
    elif ruling in (Ruling.REFUTED, Ruling.REFUSED):
        standings.settle(campaign, trial, Label.DISCARD)
    payload = {
        "number": trial.number,
        "incumbent": confirmation.incumbent.number,
        "round": confirmation.round,
        "ruling": ruling,
        "standing": trial.standing,
        "reason": confirmation.reason,
        "numbers": confirmation.numbers,
        "noise_sd": noise.sd,
        "noise_df": noise.df,
    }
    append_event(campaign, EventKind.CONFIRMATION_CLOSED, JUDGE, payload, trial)
    if ruling is Ruling.CONFIRMED:
        _challenge_anew(campaign)


def _numbers(confirmation: Confirmation, seeds: Sequence[Seed], noise: Noise) -> dict[str, Any]:
    """The figures behind a decision, the measurements by their hashes; enough to decide again."""
    gate = gate_of([order.outcome["numbers"] for order in _candidates(confirmation)])
    hashes = Measurement.objects.filter(evaluation__confirmation=confirmation).order_by("evaluation_id")
    return {
        "pairs": [[seed.seed, seed.pair.candidate, seed.pair.incumbent] for seed in seeds if seed.pair is not None],
        "part": confirmation.part,
        "gain": confirmation.gain,
        "z": confirmation.z,
        "bound": confirmation.bound,
        **({} if gate is None else {"gate": {"accuracy": gate.accuracy, "deficit": gate.deficit}}),
        "noise_sd": noise.sd,
        "noise_df": noise.df,
        "measurements": list(hashes.values_list("sha256", flat=True)),
    }


def _cancel(confirmation: Confirmation) -> None:
    """Measurements that nobody waits for any more; their workers notice at the next heartbeat."""
    Evaluation.objects.filter(
        confirmation=confirmation, state__in=[EvaluationState.QUEUED, EvaluationState.RUNNING, EvaluationState.MEASURED]
    ).update(state=EvaluationState.CANCELLED, lease_expires_at=None)


def _challenge_anew(campaign: Campaign) -> None:
    """The best has changed: whoever was being confirmed has to beat the new one, if it still looks better."""
    for other in list(Confirmation.objects.open(campaign.pk).select_related("trial__parent", "incumbent")):
        pairs = [seed.pair for seed in seeds_of(other) if seed.pair is not None]
        # Fresh seeds tell more than the score that made it provisional.
        score = statistics.fmean(pair.candidate for pair in pairs) if pairs else other.trial.score
        assert score is not None and campaign.best_score is not None and campaign.best_trial is not None
        label = keep.decide(
            KeepRule.VERIFIED, Direction(campaign.direction), score, campaign.best_score, campaign.noise_sd
        )
        number = campaign.best_trial.number
        if label is Label.PROVISIONAL:
            _close(campaign, other, Ruling.SUPERSEDED, f"trial {number} became the best meanwhile")
            open_confirmation(campaign, other.trial)
        else:
            reason = f"trial {number} became the best meanwhile, and this one does not look better"
            _close(campaign, other, Ruling.REFUTED, reason)


def abandon(campaign: Campaign) -> None:
    """A campaign that ends decides nothing more and waits for nobody: what is provisional stays so."""
    for confirmation in Confirmation.objects.open(campaign.pk).select_related("incumbent"):
        _close(campaign, confirmation, Ruling.ABANDONED, "the campaign was ended")
    approvals.abandon(campaign)


def next_orders(campaign: Campaign) -> list[tuple[Confirmation, Trial, int]]:
    """What could be measured now, by confirmation: the rest of a seed, or the next seed where the last one is done."""
    found: list[tuple[Confirmation, Trial, int]] = []
    for confirmation in Confirmation.objects.undecided(campaign.pk).select_related("incumbent"):
        seeds = seeds_of(confirmation)
        if not seeds or seeds[-1].done:
            seeds.append(Seed(_fresh_seed(campaign, confirmation, len(seeds)), None, None))
        last, arms = seeds[-1], (confirmation.trial, confirmation.incumbent)
        found += [(confirmation, arm, last.seed) for arm, order in zip(arms, last.orders, strict=True) if order is None]
    return found


def _fresh_seed(campaign: Campaign, confirmation: Confirmation, index: int) -> int:
    """A seed with which neither recipe was measured yet."""
    measured = Evaluation.objects.filter(
        trial_id__in=[confirmation.trial_id, confirmation.incumbent_id],
        purpose__in=[Purpose.TRIAL, Purpose.CALIBRATION, Purpose.CONFIRMATION],
        split="validation",
    )
    what = ("confirmation", confirmation.trial.number, confirmation.round, index)
    seed, again = confirm.fresh_seed(campaign.seed, *what), 0
    while measured.filter(seed=seed).exists():
        again += 1
        seed = confirm.fresh_seed(campaign.seed, *what, again)
    return seed
