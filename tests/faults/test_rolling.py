"""Real evaluator processes: campaigns share them by weight, and one takes over from another within a trial."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
from celery import current_app

from evaluators import services
from evaluators.tasks import enqueue
from tests.conftest import running
from tests.factories import SPEC, finish, make_campaign, start, submit
from tests.site.census import until
from tests.toy_worker import NAME, files
from trials.invariants import check_campaign
from trials.models import Campaign, Evaluation, Measurement
from trials.services import campaigns
from trials.share_models import Turn
from trials.vocab import EvaluationState
from trials.worker_models import Worker

pytestmark = pytest.mark.django_db(transaction=True)
EVALUATOR = ("celery", "-A", "tests.toy_worker", "worker", "--loglevel", "INFO", "-Q", "evaluators.cpu")


def searching(name: str, weight: int, **changes: object) -> Campaign:
    """A campaign of the toy with its start."""
    campaign = make_campaign(name=name, environment=NAME, spec=SPEC | {"files": ["model.py"]}, **changes)
    campaigns.weigh(campaign.pk, weight, actor="test")
    finish(start(submit(campaign, parent=None, files=files(0.0, 0))), 2.0)
    return campaign


def queue(campaign: Campaign, seconds: float, many: int) -> None:
    """Trials that take so long, with their messages."""
    for number in range(1, many + 1):
        trial = submit(campaign, files=files(seconds, number), surface=("model.py",))
        enqueue(trial.evaluations.get().pk, "cpu")


def measured(*campaigns: Campaign) -> int:
    return Measurement.objects.filter(campaign__in=campaigns, trial__number__gt=0).count()


@pytest.fixture
def purged() -> None:
    current_app.control.purge()


def test_campaigns_share_evaluators_by_weight_and_one_alone_has_them_all(purged: None, tmp_path: Path) -> None:
    one, three = searching("one", 1, max_trials=100), searching("three", 3, max_trials=100)
    queue(one, 0.15, 36)  # all of these messages are in the queue before the first of the other campaign
    queue(three, 0.15, 36)
    with running(*EVALUATOR, "-c", "2", "-n", "shares@test", log=tmp_path / "evaluators.log"):
        assert until(lambda: measured(one, three) == 72, 240), (tmp_path / "evaluators.log").read_text()[-2000:]
    order = Evaluation.objects.filter(campaign__in=(one, three), trial__number__gt=0).order_by("claimed_at")
    names = list(order.values_list("campaign__name", flat=True))
    contended = names[: max(at for at, name in enumerate(names) if name == "three") + 1]
    counted = Counter(contended)
    assert counted["three"] == 36 and 9 <= counted["one"] <= 16, contended
    assert set(names[len(contended) :]) == {"one"}, "what the other does not want is not kept from it"
    seconds = dict(Turn.objects.values_list("campaign__name", "used"))
    assert seconds["one"] >= 36 * 0.15 <= seconds["three"]
    assert not Evaluation.objects.exclude(state=EvaluationState.JUDGED).exclude(attempt=1).exists()


def test_an_evaluator_that_is_told_to_stop_finishes_its_trial_while_another_takes_over(
    purged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = searching("rolling", 1, max_trials=100)
    monkeypatch.setenv("CODE_VERSION", "old")
    queue(campaign, 4.0, 1)
    logs = tmp_path / "old.log", tmp_path / "new.log"
    with running(*EVALUATOR, "-c", "1", "-n", "old@test", log=logs[0]) as old:
        assert until(lambda: Evaluation.objects.filter(state=EvaluationState.RUNNING).exists(), 60)
        monkeypatch.setenv("CODE_VERSION", "new")
        more = submit(campaign, files=files(0.1, 2), surface=("model.py",))
        old.send_signal(signal.SIGTERM)
        with running(*EVALUATOR, "-c", "1", "-n", "new@test", log=logs[1]):
            enqueue(more.evaluations.get().pk, "cpu")
            assert until(lambda: measured(campaign) == 2, 240), logs[1].read_text()[-2000:]
            assert old.wait(60) == 0
            assert until(lambda: {one.details["version"] for one in Worker.objects.all()} == {"new"}, 60)
    first, second = Evaluation.objects.filter(trial__number__gt=0).order_by("trial__number")
    assert (first.attempt, second.attempt) == (1, 1), "nothing was lost or done twice"
    assert first.worker != second.worker
    assert [order.measurement.record["worker_version"] for order in (first, second)] == ["old", "new"]
    assert services.judge_measured(campaign.pk) == 2
    campaign.refresh_from_db()
    assert list(check_campaign(campaign)) == []
