"""Who works next and when a search ends. Pure: values in, a decision out, no database and no clock."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from trials.vocab import CampaignState


@dataclass(frozen=True)
class Situation:
    """What the loop knows of a campaign at one moment.

    submitted: trials that count or may still count, in flight included; finished_through: every trial up to this
    number is closed (-1: not even the baseline); busy_roles: roles with a session or a trial in flight; open_sessions,
    open_trials: how many of each; sessions: sessions started so far; spent_roles: roles whose last session found
    nothing to propose on the evidence that a new one would see again, or whose budget is used; exhausted: why the
    campaign's budget for agents has no room for another session, empty while it has; budgets_spent: some role's has.
    Of a campaign that asks a person: waiting, what for, in words; used_up, the budget of which all that was approved is
    used; refused, why a person has ended the search.
    Of the keep rule ``verified``: calibrated, the start's noise is known; confirming, open confirmations (a trial that
    is being confirmed is not closed for ``finished_through``); repeats, measurements for either that are in flight;
    repeats_wanted, those that could be ordered now; measuring, work orders of all kinds that hold an evaluator.
    maintenance: nothing is begun on the whole site.
    """

    state: CampaignState
    now: datetime
    created_at: datetime
    last_gain_at: datetime | None
    max_trials: int
    max_hours: float
    no_improvement_hours: float
    slots: int
    seed: int
    reproducible: bool
    roles: Sequence[str]
    submitted: int
    next_number: int
    finished_through: int
    has_baseline: bool
    baseline_failed: bool
    open_sessions: int
    open_trials: int
    sessions: int
    busy_roles: frozenset[str]
    spent_roles: frozenset[str]
    exhausted: str = ""
    budgets_spent: bool = False
    waiting: str = ""
    used_up: str = ""
    refused: str = ""
    calibrated: bool = True
    confirming: int = 0
    repeats: int = 0
    repeats_wanted: int = 0
    measuring: int = 0
    maintenance: bool = False


@dataclass(frozen=True)
class Repeat:
    """Order so many calibrations or confirmations."""

    count: int


@dataclass(frozen=True)
class StartSession:
    role: str
    number: int
    seed: int
    up_to: int | None


@dataclass(frozen=True)
class Ask:
    """A person has to say whether more of this budget may be used."""

    subject: str


@dataclass(frozen=True)
class Finish:
    reason: str


@dataclass(frozen=True)
class Fail:
    reason: str


@dataclass(frozen=True)
class Wait:
    reason: str


Decision = Repeat | StartSession | Ask | Finish | Fail | Wait


def session_seed(seed: int, number: int) -> int:
    """Seed of session ``number``: 63 bits that depend on the campaign's seed and the number alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:8], "big") >> 1


def role_order(roles: Sequence[str], seed: int, number: int) -> list[str]:
    """Roles in the order in which session ``number`` prefers them: a fresh shuffle each round, so that each role comes
    up once a round and no role always follows the same one."""
    round_number, place = divmod(number, len(roles))
    shuffled = list(roles)
    random.Random(session_seed(seed, -1 - round_number)).shuffle(shuffled)  # noqa: S311 - order, not a secret
    return shuffled[place:] + shuffled[:place]


def decide(at: Situation) -> Decision:
    """The next step of a campaign: measure again, start one session, ask a person, finish, fail, or wait.

    Measurements that decide something go first: what is built on a provisional trial may be built on sand.
    """
    if at.maintenance or at.state is not CampaignState.RUNNING:
        return Wait("the site is in maintenance" if at.maintenance else f"the campaign is {at.state}")
    if at.baseline_failed:
        return Fail("the starting recipe did not measure as valid")
    free = at.slots - at.measuring - at.open_sessions
    if at.repeats_wanted and free > 0:
        return Repeat(min(free, at.repeats_wanted))
    if not (at.has_baseline and at.calibrated):
        return Wait("the starting recipe is being measured")
    over = limit_reached(at)
    if over is not None:
        return Wait(f"{over}; waiting for what is in flight") if _in_flight(at) else Finish(over)
    return _checkpoint(at) or _start(at)


def leaves_room(at: Situation) -> bool:
    """Whether anything may follow the session that was decided upon; with every slot busy ``decide`` only waits."""
    return at.open_trials + at.open_sessions + at.repeats + 1 < at.slots


def _in_flight(at: Situation) -> bool:
    """Whether anything could still change what the search has found."""
    return at.open_trials + at.open_sessions + at.confirming > 0


def limit_reached(at: Situation) -> str | None:
    """The limit that forbids another trial, in words; None while there is budget left."""
    if at.submitted >= at.max_trials:
        return f"all {at.max_trials} trials are done"
    if at.now - at.created_at >= timedelta(hours=at.max_hours):
        return f"{at.max_hours:g} hours are over"
    if at.exhausted or at.refused:
        return at.exhausted or at.refused
    if at.waiting:
        return None  # nothing can improve meanwhile
    newest_gain = at.last_gain_at or at.created_at
    if at.now - newest_gain >= timedelta(hours=at.no_improvement_hours):
        return f"no improvement for {at.no_improvement_hours:g} hours"
    return None


def _checkpoint(at: Situation) -> Decision | None:
    """What a person has to say first; None where nobody is asked now."""
    if at.waiting:
        return Wait(at.waiting)
    if not at.used_up:
        return None
    told = f"all {at.used_up} that were approved are used; waiting for what is in flight"
    return Wait(told) if _in_flight(at) else Ask(at.used_up)


def _start(at: Situation) -> Decision:
    if at.open_trials + at.open_sessions + at.repeats >= at.slots:
        return Wait("every slot is busy")
    up_to: int | None = None
    free = [role for role in at.roles if role not in at.spent_roles]
    if at.reproducible:
        # Proposal n depends on the seed and on outcomes up to n - slots only, so a second run repeats it.
        up_to = max(0, at.next_number - at.slots)
        if at.open_sessions:
            return Wait("a reproducible campaign makes one proposal at a time")
        if at.finished_through < up_to:
            return Wait(f"trial {at.next_number} may see outcomes up to {up_to}, which are not all in")
    else:
        free = [role for role in free if role not in at.busy_roles] or free
    if not free:
        if _in_flight(at):
            return Wait("every role waits for an outcome before it has another idea")
        return Finish("no role has an idea or a budget left" if at.budgets_spent else "no role has an idea left")
    wanted = next(role for role in role_order(at.roles, at.seed, at.sessions) if role in free)
    return StartSession(role=wanted, number=at.sessions, seed=session_seed(at.seed, at.sessions), up_to=up_to)
