"""Whose turn it is: shares by weight, whatever measurements take, and nobody saves up for a monopoly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from tests.factories import make_campaign, order_of, record, run_trial, submit
from trials import clock
from trials.models import Campaign, Evaluation, Event, Trial
from trials.services import campaigns, leases, shares
from trials.share_models import Turn
from trials.vocab import CampaignState, EventKind

pytestmark = pytest.mark.django_db


def searching(name: str, weight: int = 1, queued: int = 0) -> Campaign:
    """A campaign with its baseline and so many queued trials."""
    campaign = make_campaign(name=name, max_trials=500)
    campaigns.weigh(campaign.pk, weight, actor="test")
    run_trial(campaign, 2.0, parent=None)
    for _ in range(queued):
        submit(campaign)
    return campaign


class Evaluators:
    """A few slots and a clock of their own: orders are claimed and posted through the services, and what each took is
    what ``seconds`` says of its campaign."""

    def __init__(self, slots: int, seconds: Mapping[Campaign, float]) -> None:
        self.slots, self.seconds, self.now = slots, seconds, 0.0
        self.running: list[tuple[float, float, Evaluation]] = []
        self.used: Counter[str] = Counter()

    def run(self, until: float) -> None:
        """Work until this moment, in seconds since the beginning."""
        while True:
            while len(self.running) < self.slots and (chances := shares.waiting("cpu")):
                self._claim(chances)
            if not self.running or min(end for end, *_ in self.running) > until:
                return
            self._post()

    def _claim(self, chances: Sequence[shares.Chance]) -> None:
        claimed = leases.claim_evaluation(chances[0].order, "host:1", chances[0])
        assert claimed is not None
        self.running.append((self.now + self.seconds[claimed.campaign], self.now, claimed))
        self._tell_times()

    def _post(self) -> None:
        ending = min(self.running, key=lambda one: one[0])
        self.running.remove(ending)
        self.now, begun, order = ending
        self._tell_times()
        Evaluation.objects.filter(pk=order.pk).update(claimed_at=clock.now() - timedelta(seconds=self.now - begun))
        assert leases.post_measurement(order.pk, order.attempt, record(1.9), b"")
        self.used[order.campaign.name] += self.now - begun

    def _tell_times(self) -> None:
        for _, begun, order in self.running:
            ago = timedelta(seconds=self.now - begun)
            Evaluation.objects.filter(pk=order.pk).update(claimed_at=clock.now() - ago)


@pytest.mark.parametrize(("short", "long", "slots"), [(10.0, 35.0, 2), (35.0, 10.0, 4)])
def test_device_seconds_go_by_weight_whatever_one_measurement_takes(short: float, long: float, slots: int) -> None:
    one, three = searching("one", 1, 60), searching("three", 3, 60)
    host = Evaluators(slots, {one: short, three: long})
    host.run(until=480 / slots)
    assert host.used["three"] / host.used["one"] == pytest.approx(3, rel=0.2)
    used = dict(Turn.objects.values_list("campaign__name", "used"))
    assert used == pytest.approx(dict(host.used), abs=2)


def test_one_alone_has_all_and_whoever_comes_late_gets_a_share_and_no_more() -> None:
    early, late = searching("early", queued=60), searching("late")
    host = Evaluators(2, {early: 10.0, late: 10.0})
    host.run(until=100)
    assert host.used == {"early": 200.0}
    for _ in range(30):
        submit(late)
    host.run(until=200)
    assert host.used["late"] == pytest.approx(100, abs=20), "it catches up on nothing that it never asked for"
    assert host.used["early"] == pytest.approx(300, abs=20)


def test_twenty_campaigns_on_one_slot_all_have_their_turn() -> None:
    many = [searching(f"c{number}", 20 if number == 0 else 1, 3) for number in range(20)]
    for _ in range(40):
        submit(many[0])
    host = Evaluators(1, dict.fromkeys(many, 10.0))
    host.run(until=400)
    assert len(host.used) == 20
    assert host.used["c0"] == pytest.approx(200, abs=40)


def test_a_weight_changes_from_now_on_as_an_event() -> None:
    first, second = searching("first", queued=40), searching("second", queued=40)
    host = Evaluators(1, {first: 10.0, second: 10.0})
    host.run(until=160)
    assert host.used["first"] == pytest.approx(80, abs=10)
    campaigns.weigh(second.pk, 3, actor="ada")
    before = host.used.copy()
    host.run(until=320)
    assert host.used["second"] - before["second"] == pytest.approx(120, abs=20)
    event = Event.objects.filter(kind=EventKind.CAMPAIGN_WEIGHT, campaign=second).latest("seq")
    assert (event.actor, event.payload) == ("ada", {"from": 1, "to": 3})
    campaigns.weigh(second.pk, 3, actor="ada")
    assert Event.objects.filter(kind=EventKind.CAMPAIGN_WEIGHT, campaign=second).count() == 1


def test_a_turn_that_somebody_else_took_meanwhile_is_nobodys() -> None:
    campaign = searching("raced", queued=2)
    seen = shares.waiting("cpu")
    assert leases.claim_evaluation(seen[0].order, "host:1", seen[0]) is not None
    second = order_of(Trial.objects.get(campaign=campaign, number=2))
    stale = shares.Chance(campaign.pk, second.pk, seen[0].taken, 1, seen[0].reached, seen[0].start)
    events = Event.objects.count()
    assert leases.claim_evaluation(second.pk, "host:2", stale) is None
    second.refresh_from_db()
    assert (second.state, second.attempt, Event.objects.count()) == ("queued", 0, events)
    fresh = shares.waiting("cpu")[0]
    assert leases.claim_evaluation(second.pk, "host:2", fresh) is not None


def test_time_that_a_lost_attempt_held_counts_and_does_not_teach() -> None:
    campaign = searching("lost", queued=1)
    chance = shares.waiting("cpu")[0]
    claimed = leases.claim_evaluation(chance.order, "host:1", chance)
    assert claimed is not None
    Evaluation.objects.filter(pk=claimed.pk).update(claimed_at=clock.now() - timedelta(seconds=30))
    leases.give_back(claimed.pk, claimed.attempt, "the disk is full")
    turn = Turn.objects.get(campaign=campaign)
    assert turn.used == pytest.approx(30, abs=2) and turn.expected is None


def test_weights_are_small_whole_numbers_of_live_campaigns() -> None:
    campaign = searching("bad")
    for weight in (0, -1, 101):
        with pytest.raises(shares.BadWeight, match=f"{weight} is out of range, expected 1 to 100"):
            campaigns.weigh(campaign.pk, weight, actor="test")
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="test", reason="enough")
    with pytest.raises(campaigns.WrongState, match="stopped: it shares nothing any more"):
        campaigns.weigh(campaign.pk, 2, actor="test")
    assert shares.waiting("cpu") == []
