"""From what went wrong on the wire to the label that it deserves. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from evaluators.child.frames import Kind
from evaluators.contract import HarnessFault, Limits
from evaluators.harness.scoring import NotADistribution
from evaluators.harness.wire import Busy, Ended, Late, Overrun, Spent, TooLong, WireError
from trials.vocab import Label

Phase = Literal["project", "train", "spell", "predict", "probe"]

#: Phases in which a recipe trains: no held-out text is in the process yet.
TRAINING = ("project", "train")
EXCERPT_CHARACTERS = 1200
#: Once held-out text is in a process, this much of its exception's message leaves it: enough to act on, not to copy.
MESSAGE_CHARACTERS = 200


#: A recipe that fails inside its import below this many CPU seconds has spent nothing worth a budget.
IMPORT_CPU_SECONDS = 1.0

#: Statuses that a measurement may carry into the record.
FAILURES = frozenset(
    {
        Label.PREFLIGHT_CRASH,
        Label.CRASH,
        Label.SIZE_BLOCKED,
        Label.TRAIN_BUDGET_OVERRUN,
        Label.EVAL_BUDGET_OVERRUN,
        Label.INVALID_RESULT,
        Label.RULE_VIOLATION,
    }
)


class Verdict(Exception):
    """The measurement ends here, with a status that is a label."""

    def __init__(
        self, status: Label, reason: str, numbers: Mapping[str, float | int | str] | None = None, *, excerpt: str = ""
    ) -> None:
        super().__init__(f"{status}: {reason}")
        self.status, self.reason, self.excerpt = status, reason, excerpt
        self.numbers: Mapping[str, float | int | str] = numbers or {}


def overrun_label(phase: Phase) -> Label:
    """The overrun of a phase."""
    return Label.TRAIN_BUDGET_OVERRUN if phase in TRAINING else Label.EVAL_BUDGET_OVERRUN


def over_wallclock(phase: Phase, seconds: float, budget: float, tolerance: float) -> Verdict | None:
    """The verdict on a phase whose budget is wall-clock seconds, with the seconds over; None within the tolerance."""
    if seconds <= budget * (1 + tolerance):
        return None
    reason = f"{seconds:.2f} s of {budget:g} s wall clock, {seconds - budget:.2f} over"
    return Verdict(overrun_label(phase), reason, {**_seconds("seconds", seconds, budget), "phase": phase})


def over_seconds(seconds: Mapping[str, float], limits: Limits) -> Verdict | None:
    """The same on a finished measurement: training, and spelling together with prediction."""
    if not limits.wallclock:
        return None
    evaluation = seconds.get("spell", 0.0) + seconds.get("predict", 0.0)
    return over_wallclock(
        "train", seconds.get("train", 0.0), limits.train_seconds, limits.unit_tolerance
    ) or over_wallclock("predict", evaluation, limits.eval_seconds, limits.unit_tolerance)


@contextmanager
def in_chunk(index: int) -> Iterator[None]:
    """Logits that are no distribution become a verdict that names their chunk."""
    try:
        yield
    except NotADistribution as error:
        raise Verdict(Label.INVALID_RESULT, f"{error} of chunk {index}", {"chunk": index}) from error


def not_causal(move: float, what: str, where: Mapping[str, int]) -> Verdict:
    """A prediction that depends on more than its row's earlier tokens."""
    reason = f"not causal: a prediction moved by {move:.4g} nats when {what}"
    return Verdict(Label.INVALID_RESULT, reason, {**where, "largest_move": move})


def of_wire(error: WireError, phase: Phase, budget: int | None) -> Verdict:
    """The verdict on a conversation that broke off. Raises HarnessFault when the sandbox itself broke."""
    over = overrun_label(phase)
    match error:
        case Overrun(units=units) if budget is not None:
            reason = f"{units:,} units of {budget:,} when it was stopped, {units - budget:,} over"
            return Verdict(over, reason, {"units": units, "units_over": units - budget, "phase": phase})
        case Late(seconds=seconds, allowed=allowed):
            verdict = Verdict(over, f"wall clock: {error}", _seconds("seconds", seconds, allowed))
        case Busy(seconds=seconds, allowed=allowed):
            verdict = Verdict(over, f"work that is not counted: {error}", _seconds("cpu_seconds", seconds, allowed))
        case Spent(seconds=seconds, allowed=allowed):
            verdict = Verdict(over, f"CPU time: {error}", _seconds("cpu_seconds", seconds, allowed))
        case TooLong(kind=Kind.TRAINED):
            bytes_over = error.announced - error.cap
            verdict = Verdict(Label.SIZE_BLOCKED, f"{bytes_over:,} bytes over", {"bytes_over": bytes_over})
        case TooLong(kind=Kind.LOGITS):
            verdict = Verdict(Label.INVALID_RESULT, f"logits of a wrong shape: {error}")
        case TooLong(kind=Kind.PREDICTIONS):
            verdict = Verdict(Label.INVALID_RESULT, f"predictions of a wrong shape: {error}")
        case Ended():
            verdict = _ended(error, phase, over)
        case _:
            verdict = Verdict(Label.CRASH, f"protocol: {error}", {"phase": phase}, excerpt=f"{error} (in {phase})")
    return verdict


def _seconds(name: str, seconds: float, allowed: float) -> dict[str, float]:
    return {name: round(seconds, 3), f"{name}_over": round(seconds - allowed, 3)}


def _ended(error: Ended, phase: Phase, over: Label) -> Verdict:
    cause = error.how.cause if error.how is not None else ""
    if cause == "fault":
        raise HarnessFault(f"the sandbox broke during {phase}")
    if cause in ("wall", "cpu"):
        return Verdict(over, f"ended from outside: {cause}", {"phase": phase})
    reason = cause if cause in ("memory", "scratch") else str(error)
    return Verdict(Label.CRASH, reason, {"phase": phase}, excerpt=f"{error} (in {phase})")


def of_failure(payload: bytes, phase: Phase, units: int, cpu_seconds: float = 0.0) -> Verdict:
    """The verdict on a FAILED frame, whose content is the recipe's own word: text only, bounded.

    units: what it says that it has spent. cpu_seconds: what it has, seen from outside.
    """
    try:
        said = json.loads(payload)
        stage, reason, excerpt = (str(said[name]) for name in ("stage", "reason", "excerpt"))
        contract = said["contract"] is True
    except (ValueError, KeyError, TypeError, RecursionError):
        return Verdict(Label.CRASH, "protocol: FAILED without a readable reason", {"phase": phase})
    if phase not in TRAINING:
        reason = reason[:MESSAGE_CHARACTERS]
        first, _, where = excerpt.rpartition("\n")
        excerpt = f"{first[:MESSAGE_CHARACTERS]}\n{where[:MESSAGE_CHARACTERS]}"
    reason, excerpt = printable(reason), printable(excerpt)[:EXCERPT_CHARACTERS]
    if contract:
        return Verdict(Label.INVALID_RESULT, reason, {"stage": printable(stage)[:20]}, excerpt=excerpt)
    # Only a recipe that has spent nothing was stopped before the budget; work inside an import is work.
    before_budget = phase in TRAINING and stage == "import" and units == 0 and cpu_seconds < IMPORT_CPU_SECONDS
    label = Label.PREFLIGHT_CRASH if before_budget else Label.CRASH
    return Verdict(label, reason, {"stage": printable(stage)[:20]}, excerpt=excerpt)


def printable(text: str) -> str:
    """Without control characters, newlines excepted."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
