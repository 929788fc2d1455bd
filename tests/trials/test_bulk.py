"""The bulk loader writes what the services write, and a made-up search looks like a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from tests.factories import ROLES, SPEC, make_campaign, run_trial, submit
from tests.trials.test_services import chain_is_whole
from trials import clock as records_clock
from trials import synthetic
from trials.hypotheses import HypothesisKey
from trials.lineage import build_slice
from trials.models import Blob, Campaign, Evaluation, Event, FrontierStep, Measurement, Rollup, Trial
from trials.services import bulk, events, leases, outcomes, submissions
from trials.services.blobs import get_tree
from trials.services.reports import current_report
from trials.services.tallies import MADE
from trials.vocab import UNCOUNTED_LABELS, Direction, Label

pytestmark = pytest.mark.django_db
BEGINS = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
TRIALS = 100


def plan(**changes: Any) -> synthetic.Plan:
    values: dict[str, Any] = {
        "seed": 3,
        "surfaces": {str(role["name"]): role["surface"] for role in ROLES},
        "files": ["a.py", "b.py", "recipe.py"],
        "direction": Direction.LOWER,
        "start": 2.0,
        "begins": BEGINS,
        "slots": 4,
        "limits": SPEC["profile"]["limits"],
    }
    return synthetic.Plan(**values | changes)


_CLOCK = """
CREATE SCHEMA chosen;
CREATE FUNCTION chosen.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$ SELECT current_setting('chosen.now')::timestamptz $$;
SET LOCAL search_path = chosen, pg_catalog, public
"""


class Clock:
    """What the database says when it is asked for the time, within the transaction of a test."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_CLOCK)
        self.set(BEGINS)

    def set(self, now: datetime) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('chosen.now', %s, true)", [now.isoformat()])


@pytest.fixture
def salts(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Salts in a fixed order, from the start again whenever this is called: the rest then decides the chain."""
    counter = iter(range(1))

    def again() -> None:
        nonlocal counter
        counter = iter(range(1_000_000))

    monkeypatch.setattr(events.secrets, "token_hex", lambda size: f"{next(counter):0{2 * size}x}")
    again()
    return again


@pytest.fixture
def clock(db: None) -> Clock:
    return Clock()


def one_at_a_time(campaign: Campaign, search: synthetic.Search, trials: int, clock: Clock) -> None:
    """The same steps through the services, each at its time."""
    orders: dict[int, Evaluation] = {}
    for step, made in search.wave(trials):
        if step == synthetic.SUBMIT:
            clock.set(made.submitted_at)
            submission = submissions.Submission(
                made.role, made.hypothesis, made.files, made.diff, made.view, made.parent, campaign.seed,
                made.expected_delta, made.proposal, made.surface,
            )  # fmt: skip
            trial = submissions.submit_trial(campaign.pk, submission, actor="fill", enqueue=lambda order: None)
            orders[made.number] = Evaluation.objects.get(trial=trial)
        elif step == synthetic.CLAIM:
            clock.set(made.claimed_at)
            assert leases.claim_evaluation(orders[made.number].pk, synthetic.WORKER) is not None
        elif step == synthetic.MEASURE:
            clock.set(made.measured_at)
            assert leases.post_measurement(orders[made.number].pk, 1, made.body, made.log)
        else:
            clock.set(made.recorded_at)
            verdict = outcomes.Verdict(made.label, made.reason, made.score, made.numbers)
            assert outcomes.record_outcome(orders[made.number].pk, verdict) is not None


def rows(model: Any, campaign: Campaign, order: str, *without: str) -> list[dict[str, Any]]:
    """All rows of a campaign as plain values; keys that only say in which order rows were written are left out."""
    found = []
    for row in model.objects.filter(campaign=campaign).order_by(order):
        values = {field.name: getattr(row, field.attname) for field in model._meta.concrete_fields}
        for name in ("id", "campaign", "slug", *without):
            values.pop(name, None)
        for name in ("trial", "parent", "best_trial"):
            if name in values:
                trial = getattr(row, name)
                values[name] = None if trial is None else trial.number
        found.append(values)
    return found


def record_of(campaign: Campaign) -> dict[str, list[Any]]:
    return {
        "trials": rows(Trial, campaign, "number"),
        "orders": rows(Evaluation, campaign, "trial__number"),
        "measurements": rows(Measurement, campaign, "trial__number", "evaluation"),
        "events": rows(Event, campaign, "seq"),
        "rollups": sorted(map(str, rows(Rollup, campaign, "hour"))),
        "frontier": rows(FrontierStep, campaign, "number"),
        **{model.__name__: sorted(map(str, rows(model, campaign, "pk"))) for model in MADE},
        "keys": sorted(HypothesisKey.objects.filter(campaign=campaign).values_list("key", "number")),
    }


def head_of(campaign: Campaign) -> dict[str, Any]:
    campaign.refresh_from_db()
    values = {f.name: getattr(campaign, f.attname) for f in Campaign._meta.concrete_fields}
    values["best_trial"] = campaign.best_trial.number if campaign.best_trial else None
    return {name: value for name, value in values.items() if name not in ("id", "slug")}


def test_bulk_and_services_write_the_same_rows_rollups_frontier_counters_and_chain(
    clock: Clock, salts: Callable[[], None]
) -> None:
    campaigns_made = []
    for _ in range(2):
        salts()
        campaigns_made.append(make_campaign(max_trials=10_000, slots=4))
    slow, fast = campaigns_made
    salts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "WAVE", TRIALS // 2)
        bulk.load(fast.pk, synthetic.Search(plan()), TRIALS, actor="fill", say=lambda done: None)
    in_bulk = set(Blob.objects.values_list("pk", flat=True))
    other = synthetic.Search(plan())
    salts()
    for _ in range(2):
        one_at_a_time(slow, other, TRIALS // 2, clock)

    expected, found = record_of(slow), record_of(fast)
    for name, wanted in expected.items():
        assert len(found[name]) == len(wanted), name
        for one, two in zip(found[name], wanted, strict=True):
            assert one == two, name
    assert head_of(fast) == head_of(slow)
    assert chain_is_whole(fast) and chain_is_whole(slow)
    assert set(Blob.objects.values_list("pk", flat=True)) == in_bulk
    assert [build_slice(fast, role).text() for role in ("architecture", "optimization")] == [
        build_slice(slow, role).text() for role in ("architecture", "optimization")
    ]
    labels = Counter(row["label"] for row in found["trials"])
    assert {"baseline", "keep", "discard", "crash", "size_blocked"} <= set(labels)


def test_a_made_up_search_looks_like_a_search() -> None:
    search, labels, roles = synthetic.Search(plan(slots=10)), Counter[str](), Counter[str]()
    open_now, most_open, times, depth, sources = 0, 0, [], {0: 0}, set()
    kept, best = 0, 2.0
    for step, made in search.wave(4000):
        if step == synthetic.SUBMIT:
            open_now += 1
            depth[made.number] = 0 if made.parent is None else depth[made.parent] + 1
            sources.add(tuple(made.files.values()))
        elif step == synthetic.RECORD:
            open_now -= 1
            labels[made.label] += 1
            roles[made.role] += 1
            if made.score is not None and made.score < best:
                best, kept = made.score, kept + 1
        most_open = max(most_open, open_now)
        times.append((made.submitted_at, made.claimed_at, made.measured_at, made.recorded_at)[step])
    assert times == sorted(times) and (open_now, most_open, len(sources)) == (0, 10, 4000)
    assert 0.06 < labels[Label.CRASH] / 4000 < 0.10 and 0.7 < labels["valid"] / 4000 < 0.8
    assert roles["architecture"] + roles["optimization"] == 3999 and min(roles.values()) == 1
    assert 40 < kept < 160 and 30 < depth[search.best] <= kept and 1.6 < best < 2.0


def test_another_seed_is_another_search_and_the_same_seed_the_same() -> None:
    def told(seed: int) -> list[Any]:
        return [(step, made.hypothesis, made.score) for step, made in synthetic.Search(plan(seed=seed)).wave(40)]

    assert told(1) == told(1) != told(2)


@pytest.mark.django_db(transaction=True)
def test_fill_makes_a_campaign_that_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("fill", "big", trials=120, seed=5, slots=3)
    campaign = Campaign.objects.get(slug="big")
    counted = Trial.objects.of(campaign.pk).exclude(label__in=UNCOUNTED_LABELS).count()
    assert (campaign.state, campaign.trial_count) == ("stopped", counted)
    assert campaign.last_number == 120 and Trial.objects.of(campaign.pk).finished().count() == 121
    assert chain_is_whole(campaign)
    report = current_report(campaign)
    assert report["synthetic"] is True and campaign.name.startswith("Synthetic")
    last = Trial.objects.of(campaign.pk).get(number=120)
    assert set(get_tree(last.source_id or "")) == {*campaign.spec["files"], *campaign.spec["joins"]}
    assert last.finished_at is not None and last.finished_at <= records_clock.now()

    call_command("fill", "big", trials=30)
    campaign.refresh_from_db()
    assert campaign.last_number == 150 and chain_is_whole(campaign)
    assert "121 of 121 trials" in capsys.readouterr().err


def test_fill_refuses_real_campaigns_other_keep_rules_and_nonsense() -> None:
    real = make_campaign(name="real")
    run_trial(real, 2.0, parent=None)
    with pytest.raises(CommandError, match="campaign real is real, expected a synthetic one or a slug that is free"):
        call_command("fill", "real", trials=10)
    with pytest.raises(CommandError, match="trials is 0, expected 1 to 10000000"):
        call_command("fill", "other", trials=0)
    with pytest.raises(CommandError, match="'Other one' is no slug"):
        call_command("fill", "Other one", trials=1)
    assert not Campaign.objects.exclude(pk=real.pk).exists()
    busy = make_campaign(name="busy", spec=SPEC | {"synthetic": {}})
    submit(busy, parent=None)
    with pytest.raises(CommandError, match="campaign busy is running, expected paused or ended"):
        call_command("fill", "busy", trials=10)
    with pytest.raises(bulk.CannotLoad, match="busy is in use"):
        bulk.load(busy.pk, synthetic.Search(plan(first=1, best_score=2.0)), 10, actor="fill", say=lambda done: None)
