"""Human checkpoints in the record: what looks better waits for a person, and what follows from the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from tests.factories import calibrated, make_campaign, measure_repeats, run_trial, submit
from trials.live import campaign_head, trial_row
from trials.models import Approval, Campaign, Confirmation, Event, FrontierStep, Trial
from trials.report import build_report
from trials.services import answers, campaigns, submissions
from trials.services.campaigns import WrongState
from trials.vocab import Answer, CampaignState, Label

pytestmark = pytest.mark.django_db
ASKS = {"keeps": True}


def strict(*scores: float, **changes: Any) -> Campaign:
    """A campaign by the rule ``strict`` that asks before a keep becomes the base, and its trials so far."""
    campaign = make_campaign(**{"checkpoints": ASKS} | changes)
    run_trial(campaign, 2.0, parent=None)
    for score in scores:
        run_trial(campaign, score)
    return Campaign.objects.get(pk=campaign.pk)


def confirmed(*numbers: int) -> Campaign:
    """A campaign by the rule ``verified``; trials 1, 2, ... look better, and of these the fresh seeds confirm some."""
    campaign = calibrated(checkpoints=ASKS)
    for number in range(1, max(numbers) + 1):
        run_trial(campaign, 1.9 - 0.02 * number)
    score: Callable[[Any], float] = lambda order: (  # noqa: E731 - short, and used here alone
        1.9 - 0.02 * order.trial.number if order.trial.number in numbers else 2.0
    )
    for _ in range(30):
        if not measure_repeats(campaign, lambda order: score(order) + 0.001 * (order.seed % 3)):
            break
    return Campaign.objects.get(pk=campaign.pk)


def answered(campaign: Campaign, given: Answer, **options: Any) -> Campaign:
    answers.answer(campaign.pk, given, actor="ada", **options)
    return Campaign.objects.get(pk=campaign.pk)


def standing(campaign: Campaign, number: int) -> str:
    return str(Trial.objects.values_list("standing", flat=True).get(campaign=campaign, number=number))


@pytest.fixture(params=["strict", "verified"])
def waiting(request: pytest.FixtureRequest) -> Campaign:
    """Trial 1 waits for a person, by either keep rule."""
    return strict(1.5) if request.param == "strict" else confirmed(1)


def test_off_by_default_and_the_report_says_that_nobody_was_asked() -> None:
    campaign = strict(1.5, checkpoints={})
    assert standing(campaign, 1) == Label.KEEP and not Approval.objects.exists()
    body = build_report(campaign).body
    assert body["checkpoints"] == "nobody: no person was asked during this search" and body["approvals"] == []


def test_what_waits_is_provisional_and_never_the_best(waiting: Campaign) -> None:
    trial = Trial.objects.get(campaign=waiting, number=1)
    assert (trial.label, trial.standing, waiting.keep_count) == ("provisional", "provisional", 0)
    assert waiting.best_trial is not None and waiting.best_trial.number == 0
    assert campaign_head(waiting)["waiting"] == "waits for a person to approve trial 1 as the base"
    assert trial_row(trial)["reason"].endswith("waits for a person to approve it as the base")
    asked = Event.objects.get(campaign=waiting, kind="approval_asked")
    question = Approval.objects.get()
    assert asked.trial == trial and asked.payload["score"] == question.score
    [told] = build_report(waiting).body["approvals"]
    assert (told["trial"], told["answer"], told["by"]) == (1, None, None)


def test_nothing_is_built_on_it_before_and_it_is_the_base_after(waiting: Campaign) -> None:
    with pytest.raises(submissions.NotAccepting, match="trial 1 is not approved yet"):
        submit(waiting, parent=1)
    assert submit(waiting, parent=0).number > 1  # what was in flight is taken
    campaign = answered(waiting, Answer.APPROVED, remark="looks sound")
    assert standing(campaign, 1) == Label.KEEP and campaign.keep_count == 1
    assert campaign.best_trial is not None and campaign.best_trial.number == 1
    assert [step.number for step in FrontierStep.objects.filter(campaign=campaign)] == [0, 1]
    assert campaign.best_score == Approval.objects.get().score and campaign_head(campaign)["waiting"] == ""
    files = {"a.py": b"anew", "b.py": b"", "recipe.py": b""}
    assert submit(campaign, parent=1, files=files).parent_id is not None
    event = Event.objects.get(campaign=campaign, kind="approval_answered")
    assert event.actor == "ada" and event.payload["remark"] == "looks sound"
    [told] = build_report(Campaign.objects.get(pk=campaign.pk)).body["approvals"]
    assert (told["trial"], told["answer"], told["by"], told["remark"]) == (1, "approved", "ada", "looks sound")


def test_what_is_refused_stays_off_for_good_and_the_base_is_the_old_one(waiting: Campaign) -> None:
    campaign = answered(waiting, Answer.REFUSED)
    trial = Trial.objects.get(campaign=campaign, number=1)
    assert (trial.label, trial.standing) == ("provisional", "discard")
    assert "refused by a person" in trial_row(trial)["reason"]
    assert (campaign.keep_count, campaign.best_trial and campaign.best_trial.number) == (0, 0)
    assert not Confirmation.objects.filter(ruling="").exists()
    with pytest.raises(submissions.NotAccepting, match="trial 1 was refused by a person"):
        submit(campaign, parent=1)
    with pytest.raises(WrongState, match="waits for no answer"):
        answered(campaign, Answer.APPROVED)


def test_a_lesser_one_that_waits_is_overtaken_by_the_rule_strict() -> None:
    campaign = strict(1.5, 1.6, 1.4)
    assert [one.trial.number for one in Approval.objects.all() if one.trial] == [1, 2, 3]
    campaign = answered(campaign, Answer.APPROVED, numbers=[0])
    assert [one.answer for one in Approval.objects.all()] == ["approved", "overtaken", ""]
    assert [standing(campaign, number) for number in (1, 2, 3)] == ["keep", "discard", "provisional"]
    campaign = answered(campaign, Answer.APPROVED)
    assert (campaign.best_score, campaign.keep_count) == (1.4, 2)


def test_one_answer_for_all_follows_their_order() -> None:
    campaign = answered(strict(1.5, 1.6), Answer.APPROVED)
    assert [one.answer for one in Approval.objects.all()] == ["approved", "overtaken"]
    assert (campaign.best_score, campaign.keep_count) == (1.5, 1)


def test_by_the_rule_verified_another_one_that_waits_is_measured_against_the_new_best() -> None:
    campaign = confirmed(1, 2)
    assert [one.trial.number for one in Approval.objects.open(campaign.pk) if one.trial] == [1, 2]
    campaign = answered(campaign, Answer.APPROVED, numbers=[0])
    assert [one.answer for one in Approval.objects.all()] == ["approved", "overtaken"]
    again = Confirmation.objects.get(trial__number=2, round=2)
    assert again.ruling == "" and again.incumbent.number == 1 and standing(campaign, 2) == Label.PROVISIONAL


def test_only_what_fresh_seeds_confirm_is_asked_about() -> None:
    campaign = confirmed(2)  # trial 1 looked better and is not
    assert standing(campaign, 1) == Label.DISCARD
    assert [one.trial.number for one in Approval.objects.all() if one.trial] == [2]
    files = {"a.py": b"anew", "b.py": b"", "recipe.py": b""}
    assert submit(campaign, parent=1, files=files).number == 3  # refuted by the test, not by a person


def test_a_campaign_that_ends_waits_for_nobody(waiting: Campaign) -> None:
    if waiting.keep_rule == "verified":  # its search ends by itself; the other one is stopped
        orders = submissions.order_sealed(waiting.pk, reason="24 hours", actor="loop", enqueue=lambda _: None)
        assert {order.trial.number for order in orders} == {0}
    else:
        campaigns.change_state(waiting.pk, CampaignState.STOPPED, actor="ada", reason="enough")
    assert Approval.objects.get().answer == "abandoned" and standing(waiting, 1) == Label.PROVISIONAL
    assert not Confirmation.objects.filter(ruling="").exists()
    with pytest.raises(WrongState, match="waits for no answer"):
        answered(waiting, Answer.APPROVED)


def test_a_paused_campaign_is_answered_and_goes_on_later(waiting: Campaign) -> None:
    campaigns.change_state(waiting.pk, CampaignState.PAUSED, actor="ada", reason="")
    assert answered(waiting, Answer.APPROVED).state == CampaignState.PAUSED
    assert standing(waiting, 1) == Label.KEEP


def test_a_question_that_does_not_wait_is_answered_by_nobody(waiting: Campaign) -> None:
    with pytest.raises(WrongState, match="waits for other questions"):
        answered(waiting, Answer.APPROVED, numbers=[0, 7])
    assert Approval.objects.get().answer == ""
    with pytest.raises(ValueError, match="expected approved or refused"):
        answered(waiting, Answer.OVERTAKEN)


def test_the_database_refuses_to_change_an_answer(waiting: Campaign) -> None:
    answered(waiting, Answer.REFUSED)
    for change in (lambda: Approval.objects.update(answer="approved"), lambda: Approval.objects.all().delete()):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            change()


def test_no_more_trials_are_taken_than_a_person_has_approved() -> None:
    campaign = strict(checkpoints={"trials": 2})
    for score in (2.1, 2.2):
        run_trial(campaign, score)
    with pytest.raises(submissions.NotAccepting, match="has 2 trials and asks a person before more"):
        submit(campaign)
    assert standing(campaign, 1) == Label.DISCARD and not Approval.objects.exists()
