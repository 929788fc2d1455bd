"""Made-up searches for tests of scale: what was submitted and measured, and when. Pure: the same plan, the same search.

Some slots work side by side. Most trials build on the best, some on a strong trial beside it, some repair a near miss;
improvements become rarer and smaller as they add up, so that the chain of the best is thousands deep in a search of a
million. Numbers, labels and texts are spread as in real searches; nothing in them was measured.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from trials.vocab import VALID, Direction, Label

BASELINE_ROLE = "baseline"
WORKER = "synthetic"
#: Shares of the labels that are no plain discard; what is left after these and the improvements is discarded.
FAILURES = {
    Label.CRASH: 0.08,
    Label.PREFLIGHT_CRASH: 0.04,
    Label.SIZE_BLOCKED: 0.08,
    Label.TRAIN_BUDGET_OVERRUN: 0.04,
    Label.EVAL_BUDGET_OVERRUN: 0.03,
    Label.INVALID_RESULT: 0.015,
    Label.RULE_VIOLATION: 0.003,
    Label.HARNESS_ABORT: 0.003,
}
#: Chance that a trial improves at the start, and after how many improvements it has halved.
IMPROVES, HALVED_AFTER = 0.05, 25
#: Size of an improvement as a share of the start, and after how many improvements it has halved.
GAIN, SMALLER_AFTER = 0.004, 5
FORETOLD = 0.85
BUILDS_ON_BEST, REPAIRS = 0.7, 0.1
NEAR, MISSES = 64, 32
VERBS = ("Widen", "Narrow", "Share", "Gate", "Anneal", "Clip", "Average", "Quantise", "Warm", "Decay", "Mask", "Tie")
THINGS = (
    "attention heads", "residual paths", "embedding rows", "momentum buffers", "learning rates", "weight decay",
    "label smoothing", "value projections", "vocabulary merges", "sequence lengths", "layer norms", "output logits",
    "bigram tables", "gradient noise", "calibration batches", "evaluation strides", "document order",
    "feed-forward width",
)  # fmt: skip
MEANS = (
    "with a learnable scale", "per layer", "over the last third of training", "by a cosine schedule",
    "in half precision", "after the first epoch", "with a small auxiliary loss", "between neighbouring blocks",
    "for rare tokens only",
)  # fmt: skip
ENDS = (
    "fewer bytes carry the same model", "early steps cost less", "rare words are learnt sooner",
    "the loss stays smooth", "longer contexts pay off", "the optimiser sees cleaner directions",
    "quantisation loses less",
)  # fmt: skip
ERRORS = (
    "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x{n} and 128x64)", "KeyError: 'wte.{n}'",
    "ValueError: expected {n} heads to divide the width", "IndexError: index {n} is out of range",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a made-up search looks like. ``surfaces``: role -> files it may change.

    first: number of its first trial. Without a ``best_score`` it starts with a baseline of score ``start``; else it
    goes on from trial ``best``. seconds: mean length of a trial; limits: of the profile; fingerprint: of the machine.
    """

    seed: int
    surfaces: Mapping[str, Sequence[str]]
    files: Sequence[str]
    direction: Direction
    start: float
    begins: datetime
    slots: int = 10
    seconds: float = 60.0
    limits: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    first: int = 0
    best: int = 0
    best_score: float | None = None
    campaign_seed: int = 0


@dataclass
class Made:
    """One made-up trial. ``files`` is its whole source; the other fields are as the services take them."""

    number: int
    role: str
    parent: int | None
    hypothesis: str
    expected_delta: float | None
    proposal: Mapping[str, Any]
    surface: Sequence[str]
    files: Mapping[str, bytes]
    diff: str
    kind: str
    levels: Mapping[str, int]
    submitted_at: datetime
    claimed_at: datetime
    measured_at: datetime
    recorded_at: datetime
    body: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    reason: str = ""
    score: float | None = None
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def view(self) -> str:
        """What stands in place of a lineage view."""
        return "" if self.parent is None else f"role: {self.role}\nsynthetic: no agent saw anything\n"

    @property
    def log(self) -> bytes:
        return b"synthetic: nothing was run\n"


SUBMIT, CLAIM, MEASURE, RECORD = range(4)
Step = tuple[int, Made]


class Search:
    """A made-up search that is told wave by wave; between waves nothing is in flight."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(f"{plan.seed}:{plan.first}")  # noqa: S311 - made-up figures, not a secret
        self.number = plan.first
        self.clock = plan.begins
        self.sign = 1.0 if plan.direction is Direction.LOWER else -1.0
        self.best, self.best_score = plan.best, plan.best_score
        self.improvements = 0
        self.last_aborted = False
        self.roles = list(plan.surfaces)
        self.levels: dict[int, Mapping[str, int]] = {plan.best: {}}
        self.near: deque[tuple[int, float]] = deque(maxlen=NEAR)
        self.misses: deque[int] = deque(maxlen=MISSES)

    def wave(self, trials: int) -> Iterator[Step]:
        """The steps of the next ``trials`` trials in the order of their times."""
        queue: list[tuple[datetime, int, int, Made]] = []
        free = [self.clock + timedelta(milliseconds=1 + slot) for slot in range(self._slots())]
        heapq.heapify(free)
        left = trials
        while left or queue:
            if left and free and (not queue or free[0] <= queue[0][0]):
                begun = heapq.heappop(free)
                made = self._submitted(begun)
                left -= 1
                heapq.heappush(queue, (made.submitted_at, SUBMIT, made.number, made))
                continue
            at, step, number, made = heapq.heappop(queue)
            self.clock = max(self.clock, at)
            if step == MEASURE:
                self._measured(made)
            yield step, made
            if step < RECORD:
                due = (made.submitted_at, made.claimed_at, made.measured_at, made.recorded_at)[step + 1]
                heapq.heappush(queue, (due, step + 1, number, made))
            else:
                self._recorded(made)
                if made.parent is None:
                    free = [at + timedelta(milliseconds=1 + slot) for slot in range(self.plan.slots)]
                else:
                    heapq.heappush(free, at + self._seconds(0.05, 0.02))

    def _slots(self) -> int:
        """One until there is a baseline: nothing is proposed before it is measured."""
        return self.plan.slots if self.best_score is not None else 1

    def _seconds(self, mean: float, least: float) -> timedelta:
        """Around ``mean`` of a trial's length, as whole milliseconds."""
        length = self.plan.seconds * max(least, self.random.gauss(mean, mean / 4))
        return timedelta(milliseconds=max(1, round(1000 * length)))

    def _submitted(self, at: datetime) -> Made:
        number, self.number = self.number, self.number + 1
        baseline = self.best_score is None
        parent, kind = (None, VALID) if baseline else self._chosen()
        role = BASELINE_ROLE if baseline else self.roles[self.random.randrange(len(self.roles))]
        surface = () if baseline else tuple(self.plan.surfaces[role])
        levels, diff = self._edited(number, parent, surface)
        claimed = at + self._seconds(0.02, 0.001)
        measured = claimed + self._seconds(0.95, 0.2)
        hypothesis, transforms = ("The starting recipe, unchanged.", []) if baseline else self._idea()
        foretold = not baseline and self.random.random() < FORETOLD
        return Made(
            number=number,
            role=role,
            parent=parent,
            hypothesis=hypothesis,
            expected_delta=-self.sign * self._gain(2.0) if foretold else None,
            proposal={"transforms": transforms, "evidence": [] if parent is None else [parent]},
            surface=surface,
            files={name: source(name, levels.get(name, 0)) for name in self.plan.files},
            diff=diff,
            kind=kind,
            levels=levels,
            submitted_at=at,
            claimed_at=claimed,
            measured_at=measured,
            recorded_at=measured + self._seconds(0.005, 0.001),
        )

    def _chosen(self) -> tuple[int, str]:
        """Parent and fate of the next trial."""
        drawn, fate = self.random.random(), self.random.random()
        if drawn < REPAIRS and self.misses:
            parent = self.misses[self.random.randrange(len(self.misses))]
        elif drawn < BUILDS_ON_BEST + REPAIRS or not self.near:
            parent = self.best
        else:
            parent = self.near[self.random.randrange(len(self.near))][0]
        better = IMPROVES / (1 + self.improvements / HALVED_AFTER)
        if fate < better:
            return self.best, "improves"
        for label, share in FAILURES.items():
            better += share
            if fate < better:
                return parent, label
        return parent, VALID

    def _edited(self, number: int, parent: int | None, surface: Sequence[str]) -> tuple[dict[str, int], str]:
        """Levels of the files after the edit, and its diff. The level is the number, so no source comes up twice."""
        if parent is None:
            return {}, ""
        levels = dict(self.levels.get(parent, {}))
        name = surface[self.random.randrange(len(surface))]
        before, levels[name] = levels.get(name, 0), number
        diff = f"--- a/{name}\n+++ b/{name}\n@@ -2 +2 @@\n-LEVEL = {before}\n+LEVEL = {number}\n"
        return levels, diff

    def _idea(self) -> tuple[str, list[str]]:
        pick = self.random.randrange
        verb, thing, means, end = (pool[pick(len(pool))] for pool in (VERBS, THINGS, MEANS, ENDS))
        strength = round(2.0 ** pick(8) / 16, 4)
        name = f"{verb}-{thing}".lower().replace(" ", "-")
        return f"{verb} {thing} {means} at {strength:g}, so that {end}.", [f"{name}:{strength:g}"]

    def _gain(self, times: float = 1.0) -> float:
        size = GAIN / (1 + self.improvements / SMALLER_AFTER)
        return times * abs(self.plan.start) * size * (0.1 + self.random.random())

    def _measured(self, made: Made) -> None:
        """Score or failure, and the record of it."""
        best, kind = self.best_score, made.kind
        if kind == Label.HARNESS_ABORT and self.last_aborted:
            kind = VALID  # three in a row would pause the campaign
        if best is None:
            made.score = self.plan.start
        elif kind == "improves":
            made.score = best - self.sign * self._gain()
        elif kind == VALID:
            worse = 0.0002 + abs(self.random.gauss(0.0, 0.01))
            made.score = best + self.sign * abs(self.plan.start) * worse
        made.label = kind if kind in FAILURES else VALID
        made.reason, made.numbers = self._explained(made)
        made.body = self._record(made)

    def _explained(self, made: Made) -> tuple[str, dict[str, Any]]:
        number = self.random.randrange(1, 60_000)
        units = int(self.plan.limits.get("train_units") or 1_000_000)
        if made.label in (Label.CRASH, Label.PREFLIGHT_CRASH, Label.INVALID_RESULT):
            return ERRORS[self.random.randrange(len(ERRORS))].format(n=number), {"stage": "train"}
        if made.label == Label.SIZE_BLOCKED:
            return f"{number:,} bytes over", {"bytes_over": number}
        if made.label in (Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN):
            return f"{units + number:,} units of {units:,}, {number:,} over", {
                "units": units + number,
                "units_over": number,
            }
        if made.label == Label.RULE_VIOLATION:
            return "a guard saw an open socket", {}
        return ("worker synthetic stopped answering", {}) if made.label == Label.HARNESS_ABORT else ("", {})

    def _record(self, made: Made) -> dict[str, Any]:
        limit = int(self.plan.limits.get("artifact_bytes") or 272_000)
        over = made.numbers.get("bytes_over")
        size = limit + over if over else limit - self.random.randrange(1, max(2, limit // 20))
        failed = made.label in (Label.CRASH, Label.PREFLIGHT_CRASH, Label.HARNESS_ABORT)
        worked = (made.measured_at - made.claimed_at).total_seconds()
        return {
            "status": "ok" if made.label == VALID else str(made.label),
            "reason": made.reason,
            "seed": self.plan.campaign_seed,
            "split": "validation",
            "score": made.score,
            "numbers": dict(made.numbers),
            "code_bytes": None if failed else 6_500,
            "payload_bytes": None if failed else size - 6_500,
            "seconds": {"train": round(0.8 * worked, 3), "predict": round(0.15 * worked, 3)},
            "isolation": {"level": "", "wanted": "", "why_lower": "synthetic: nothing was run"},
            "fingerprint": dict(self.plan.fingerprint),
            "score_source": "synthetic",
            "excerpt": made.reason if failed else "",
        }

    def _recorded(self, made: Made) -> None:
        self.last_aborted = made.label == Label.HARNESS_ABORT
        if made.label == Label.SIZE_BLOCKED:
            self.misses.append(made.number)
        elif made.score is not None:
            if self.best_score is None or self.plan.direction.better(made.score, self.best_score):
                self.best, self.best_score = made.number, made.score
                self.improvements += made.parent is not None
            if made.parent is not None:
                self.near.append((made.number, made.score))
        kept = {self.best, *self.misses, *(number for number, _ in self.near)}
        if made.number in kept:
            self.levels[made.number] = made.levels
        if len(self.levels) > 4 * (NEAR + MISSES):
            self.levels = {number: held for number, held in self.levels.items() if number in kept}


@lru_cache(maxsize=65_536)
def source(name: str, level: int) -> bytes:
    """One file of a made-up recipe."""
    return f'"""Made up: {name}."""\nLEVEL = {level}\nSTEPS = 600\n\n\ndef apply(model):\n    return model\n'.encode()
