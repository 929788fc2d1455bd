"""Bundles of campaigns that ask a person: keeps follow from measurements and answers, and both travel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import verify_bundle
from tests.bundles import tampering
from tests.bundles.records import exported, golf_campaign, try_one, verified
from tests.factories import measure_repeats
from trials.models import Approval, Campaign, Trial
from trials.services import answers, approvals, campaigns
from trials.services.imports import import_bundle
from trials.vocab import Answer, CampaignState

pytestmark = pytest.mark.django_db


def asked_record(keep_rule: str) -> Campaign:
    """Trial 1 was approved, 2 overtaken or put to the test again, 3 refused; after four trials a person said yes once
    and then no."""
    campaign = golf_campaign(keep_rule=keep_rule, checkpoints={"keeps": True, "trials": 4})
    try_one(campaign, 2.5, parent=None)
    left = iter([2.51, 2.49, 2.5, 2.505, 2.495])
    if keep_rule == "verified":
        measure_repeats(campaign, lambda order: next(left))
    truth = {0: 2.5, 1: 2.4, 2: 2.41, 3: 2.3, 4: 2.2}

    def settle() -> None:
        while measure_repeats(campaign, lambda order: truth[order.trial.number] + 0.002 * (order.seed % 3)):
            pass

    for number in (1, 2):
        try_one(campaign, truth[number])
    settle()
    answers.answer(campaign.pk, Answer.APPROVED, actor="ada", numbers=[0], remark="ada has read it")
    settle()
    try_one(campaign, truth[3], parent=1)
    settle()
    answers.answer(campaign.pk, Answer.REFUSED, actor="grace")
    try_one(campaign, 2.6, parent=1)
    for given in (Answer.APPROVED, Answer.REFUSED):
        fresh = Campaign.objects.select_for_update().get(pk=campaign.pk)
        approvals.ask_for_budget(fresh, "trials", fresh.trial_count)
        answers.answer(campaign.pk, given, actor="ada")
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="loop", reason="a person refused to go on")
    return Campaign.objects.get(pk=campaign.pk)


@pytest.mark.parametrize("keep_rule", ["strict", "verified"])
def test_keeps_are_derived_again_from_measurements_and_answers(keep_rule: str, tmp_path: Path) -> None:
    campaign = asked_record(keep_rule)
    standings = dict(Trial.objects.of(campaign.pk).values_list("number", "standing"))
    assert standings == {0: "baseline", 1: "keep", 2: "discard", 3: "discard", 4: "discard"}
    assert campaign.best_trial is not None and campaign.best_trial.number == 1
    path = exported(campaign, tmp_path)
    report = verified(path)
    assert report["failures"] == [] and report["ok"]
    assert report["checked"]["questions to people"] == Approval.objects.count() == 5
    taken = import_bundle(path, actor="test").campaign
    said = [list(one.approvals.values_list("answer", "remark")) for one in (taken, campaign)]
    assert said[0] == said[1]
    assert exported(taken, tmp_path, "again.zip").read_bytes() == path.read_bytes()


def test_who_answered_and_what_was_remarked_go_with_the_names(tmp_path: Path) -> None:
    path = exported(asked_record("strict"), tmp_path, profiles=["names"])
    report = verified(path)
    assert report["ok"], report["failures"]
    members = tampering.read(path)
    whole = b"".join(members[name] for name in ("events.jsonl", "approvals.jsonl", "campaign.json", "report.html"))
    assert b'"ada' not in whole and b"ada has read it" not in whole and b'"grace"' not in whole
    assert import_bundle(path, actor="test").campaign.approvals.count() == 5


def _unasked(events: list[dict[str, Any]]) -> None:
    """The answer that made trial 1 the base never came."""
    events[:] = [event for event in events if event["kind"] != "approval_answered" or event["body"].get("number") != 1]


def _turned(events: list[dict[str, Any]]) -> None:
    """A refusal becomes an approval."""
    next(event for event in events if event["body"].get("answer") == "refused")["body"]["answer"] = "approved"


def _by_the_loop(events: list[dict[str, Any]]) -> None:
    """No person has answered."""
    next(event for event in events if event["body"].get("answer") == "approved")["actor"] = "loop"


def _early(events: list[dict[str, Any]]) -> None:
    """What is built on trial 1 was submitted before anybody approved it."""
    at = next(i for i, event in enumerate(events) if event["body"].get("answer") == "approved")
    built = next(i for i, event in enumerate(events) if event["body"].get("parent") == 1)
    events.insert(at, events.pop(built))


@pytest.mark.parametrize("keep_rule", ["strict", "verified"])
@pytest.mark.parametrize("change", [_unasked, _turned, _by_the_loop, _early])
def test_an_answer_that_is_made_up_is_named(
    keep_rule: str, change: Callable[[list[dict[str, Any]]], None], tmp_path: Path
) -> None:
    members = tampering.read(exported(asked_record(keep_rule), tmp_path))
    events = tampering.lines(members, "events.jsonl")
    change(events)
    edited = tampering.replace(members, "events.jsonl", tampering.chained(events))
    row = json.loads(edited["campaign.json"]) | {"last_seq": len(events)}
    edited["campaign.json"] = (json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n").encode()
    found = verify_bundle.verify(tampering.write(tmp_path / "edited.zip", edited, sign=True))
    told = " | ".join(one["what"] for one in found["failures"])
    wanted = {
        _unasked: "no person has approved", _turned: "no person has refused", _by_the_loop: "which is no person",
        _early: "which no person has approved",
    }  # fmt: skip
    strictly = {_unasked: "no person has approved", _turned: "does not follow"}
    assert not found["ok"] and (strictly if keep_rule == "strict" else {}).get(change, wanted[change]) in told


@pytest.mark.parametrize("column,value", [("answer", "refused"), ("score", 2.0), ("remark", "another one")])
def test_a_row_that_says_otherwise_than_its_events_is_named(column: str, value: Any, tmp_path: Path) -> None:
    members = tampering.read(exported(asked_record("strict"), tmp_path))
    rows = tampering.lines(members, "approvals.jsonl")
    rows[0][column] = value
    edited = tampering.replace(members, "approvals.jsonl", rows)
    found = verify_bundle.verify(tampering.write(tmp_path / "edited.zip", edited, sign=True))
    assert {"approvals.jsonl"} <= {one["member"] for one in found["failures"]}
