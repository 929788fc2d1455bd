"""Who works next, and when a search ends: pure decisions."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from specialists.loop import Fail, Finish, Situation, StartSession, Wait, decide, leaves_room, role_order, session_seed
from trials.vocab import CampaignState

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROLES = ("architecture", "optimization", "loss")
RUNNING = Situation(
    state=CampaignState.RUNNING,
    now=NOW,
    created_at=NOW - timedelta(hours=1),
    last_gain_at=None,
    max_trials=60,
    max_hours=24.0,
    no_improvement_hours=4.0,
    slots=2,
    seed=7,
    reproducible=False,
    roles=ROLES,
    submitted=0,
    next_number=1,
    finished_through=0,
    has_baseline=True,
    baseline_failed=False,
    open_sessions=0,
    open_trials=0,
    sessions=0,
    busy_roles=frozenset(),
    spent_roles=frozenset(),
)


def test_a_free_slot_starts_a_session() -> None:
    decision = decide(RUNNING)
    assert isinstance(decision, StartSession)
    assert decision.role in ROLES
    assert (decision.number, decision.up_to) == (0, None)


@pytest.mark.parametrize(
    "change",
    [
        {"state": CampaignState.PAUSED},
        {"has_baseline": False},
        {"open_trials": 2},
        {"open_sessions": 1, "open_trials": 1},
        {"submitted": 60, "open_trials": 1},
        {"spent_roles": frozenset(ROLES), "open_trials": 1},
    ],
)
def test_it_waits(change: dict[str, object]) -> None:
    assert isinstance(decide(replace(RUNNING, **change)), Wait)


@pytest.mark.parametrize(
    "change,words",
    [
        ({"submitted": 60}, "all 60 trials"),
        ({"created_at": NOW - timedelta(hours=24)}, "24 hours are over"),
        ({"created_at": NOW - timedelta(hours=5)}, "no improvement for 4 hours"),
        ({"spent_roles": frozenset(ROLES)}, "no role has an idea left"),
    ],
)
def test_it_finishes_when_a_limit_is_reached(change: dict[str, object], words: str) -> None:
    decision = decide(replace(RUNNING, **change))
    assert isinstance(decision, Finish) and words in decision.reason


def test_where_no_room_is_left_the_next_decision_is_to_wait() -> None:
    draw, waited = random.Random(5), 0
    for _ in range(2000):
        counts = {name: draw.randrange(4) for name in ("open_trials", "open_sessions", "repeats", "repeats_wanted")}
        at = replace(
            RUNNING,
            slots=draw.randrange(1, 8),
            submitted=draw.choice([3, 58, 59]),
            measuring=counts["open_trials"] + counts["repeats"],
            confirming=draw.randrange(2),
            reproducible=draw.random() < 0.3,
            **counts,
        )
        begun = decide(at)
        if isinstance(begun, StartSession) and not leaves_room(at):
            after = {name: getattr(at, name) + 1 for name in ("open_sessions", "submitted", "sessions")}
            assert isinstance(decide(replace(at, busy_roles=at.busy_roles | {begun.role}, **after)), Wait)
            waited += 1
    assert waited > 20


def test_a_keep_renews_the_no_improvement_limit() -> None:
    old = replace(RUNNING, created_at=NOW - timedelta(hours=10), last_gain_at=NOW - timedelta(hours=3))
    assert isinstance(decide(old), StartSession)


def test_a_start_that_does_not_measure_fails_the_campaign() -> None:
    decision = decide(replace(RUNNING, has_baseline=False, baseline_failed=True))
    assert isinstance(decision, Fail)


def test_idle_roles_come_before_busy_ones_and_spent_ones_not_at_all() -> None:
    busy = replace(RUNNING, slots=9, open_trials=2, busy_roles=frozenset(ROLES[:2]))
    for sessions in range(12):
        decision = decide(replace(busy, sessions=sessions))
        assert isinstance(decision, StartSession) and decision.role == "loss"
    spent = replace(RUNNING, spent_roles=frozenset(ROLES[1:]))
    for sessions in range(12):
        decision = decide(replace(spent, sessions=sessions))
        assert isinstance(decision, StartSession) and decision.role == "architecture"


def test_every_round_has_each_role_once_in_an_order_of_its_own() -> None:
    roles = [f"role {index}" for index in range(10)]
    rounds = [[role_order(roles, 7, 10 * turn + place)[0] for place in range(10)] for turn in range(4)]
    assert all(sorted(names) == roles for names in rounds)
    assert len({tuple(names) for names in rounds}) == 4
    assert rounds[0] != [role_order(roles, 8, place)[0] for place in range(10)]


def test_seeds_depend_on_the_campaign_and_the_session_alone() -> None:
    assert session_seed(7, 3) == session_seed(7, 3)
    assert len({session_seed(seed, number) for seed in range(20) for number in range(20)}) == 400


def test_a_reproducible_campaign_shows_proposal_n_outcomes_up_to_n_minus_slots() -> None:
    ordered = replace(RUNNING, reproducible=True, next_number=9, slots=3, open_trials=2)
    waiting = decide(replace(ordered, finished_through=5))
    assert isinstance(waiting, Wait) and "outcomes up to 6" in waiting.reason
    started = decide(replace(ordered, finished_through=8))
    assert isinstance(started, StartSession) and started.up_to == 6
    assert isinstance(decide(replace(ordered, finished_through=8, open_sessions=1, open_trials=0)), Wait)
