"""Bundles of campaigns by the keep rule ``verified``: decisions are derived again from the measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import verify_bundle
from tests.bundles import tampering
from tests.bundles.records import exported, golf_campaign, try_one, verified
from tests.factories import measure_repeats
from trials import confirm
from trials.models import Campaign, Confirmation, Evaluation, Event, Trial
from trials.services import campaigns, confirmations
from trials.services.imports import import_bundle
from trials.vocab import CampaignState, Direction, Label, Ruling

pytestmark = pytest.mark.django_db


def decided_record() -> Campaign:
    """A calibrated search with a keep, two refuted trials, one of them by a crash, and one that was never decided."""
    campaign = golf_campaign(keep_rule="verified")
    try_one(campaign, 2.5, parent=None)
    left = iter([2.51, 2.49, 2.5, 2.505, 2.495])
    measure_repeats(campaign, lambda order: next(left))
    truth: dict[int, Any] = {0: 2.5, 1: 2.46, 2: 2.47, 3: Label.CRASH}
    for score in (2.44, 2.44, 2.4):
        try_one(Campaign.objects.get(pk=campaign.pk), score)

    def scores(order: Evaluation) -> Any:
        found = truth[order.trial.number]
        return found if isinstance(found, str) else found + 0.002 * (order.seed % 3)

    for _ in range(20):
        if not measure_repeats(campaign, scores):
            break
    try_one(Campaign.objects.get(pk=campaign.pk), 2.3)
    measure_repeats(campaign, lambda order: 2.45, most=1)
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="ada", reason="enough")
    return Campaign.objects.get(pk=campaign.pk)


def test_a_verified_campaign_goes_out_and_in_and_its_decisions_are_derived_again(tmp_path: Path) -> None:
    campaign = decided_record()
    standings = dict(Trial.objects.of(campaign.pk).values_list("number", "standing"))
    assert set(standings.values()) == {"baseline", "keep", "discard", "provisional"}
    path = exported(campaign, tmp_path)
    report = verified(path)
    assert report["failures"] == [] and report["ok"]
    assert report["checked"]["decisions derived from measurements"] == Confirmation.objects.count()
    taken = import_bundle(path, actor="test")
    assert dict(Trial.objects.of(taken.campaign.pk).values_list("number", "standing")) == standings
    assert exported(taken.campaign, tmp_path, "again.zip").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "member,column,value",
    [("trials.jsonl", "standing", "keep"), ("confirmations.jsonl", "ruling", "confirmed"),
     ("confirmations.jsonl", "numbers", {})],
)  # fmt: skip
def test_a_decision_that_does_not_follow_is_named(tmp_path: Path, member: str, column: str, value: Any) -> None:
    members = tampering.read(exported(decided_record(), tmp_path))
    rows = tampering.lines(members, member)
    at = next(row for row in rows if row.get("standing", row.get("ruling")) in ("discard", "refuted"))
    at[column] = value
    number = at.get("number", at.get("trial"))
    edited = tampering.replace(members, member, rows)
    found = verify_bundle.verify(tampering.write(tmp_path / "edited.zip", edited, sign=True))
    assert not found["ok"] and number in {one["trial"] for one in found["failures"]}


def test_a_look_is_followed_with_the_noise_of_its_time(tmp_path: Path) -> None:
    """Trial 2 falls just short of its first look; then trial 1 is refuted, whose scores hardly scatter."""
    campaign = golf_campaign(keep_rule="verified")
    try_one(campaign, 2.5, parent=None)
    left = iter([2.51, 2.49, 2.5, 2.505, 2.495])
    measure_repeats(campaign, lambda order: next(left))
    for score in (2.44, 2.44):
        try_one(Campaign.objects.get(pk=campaign.pk), score)
    part = Confirmation.objects.get(trial__number=2).part
    noise = confirmations.noise_of(Campaign.objects.get(pk=campaign.pk))

    def first_look(gain: float, noise: confirm.Noise) -> confirm.Look:
        return confirm.look([confirm.Pair(2.5 - gain, 2.5)], noise, part, Direction.LOWER)

    gain = max(step / 1000 for step in range(400) if first_look(step / 1000, noise).ruling is not Ruling.CONFIRMED)
    worth = {0: [0.0, 0.0], 1: [0.001, 0.001], 2: [gain, gain + 0.001]}
    for turn in range(2):
        measure_repeats(campaign, lambda order, turn=turn: 2.5 - worth[order.trial.number][turn])
    campaign.refresh_from_db()
    assert [one.ruling for one in Confirmation.objects.order_by("trial__number")] == ["refuted", "confirmed"]
    told = Event.objects.get(kind="confirmation_closed", trial__number=1).payload
    assert first_look(gain, confirm.Noise(told["noise_sd"], told["noise_df"])).ruling is Ruling.CONFIRMED
    report = verified(exported(campaign, tmp_path))
    assert report["failures"] == [] and report["ok"]
