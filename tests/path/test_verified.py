"""The default keep rule from launch to sealed interval, with real workers and sandboxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from specialists import dispatch
from specialists.launch import LaunchSettings, launch_campaign
from tests.path.test_campaign import ended, wait_until
from tests.trials.test_confirmations import books_are_right
from trials import confirm
from trials.models import Campaign, Confirmation, Evaluation, Event, Measurement, Trial
from trials.report import build_report
from trials.services.blobs import get_tree
from trials.services.submissions import Submission, submit_trial
from trials.vocab import EventKind, Label, Purpose, Ruling


def propose_what_helps(campaign: Campaign) -> None:
    """Smaller batches and one block: several times the steps in the same budget, and far better than the start."""
    start = Trial.objects.get(campaign=campaign, number=0)
    files = get_tree(start.source_id)
    edited = files["hyperparameters.py"].replace(b"BATCH: int = 16", b"BATCH: int = 4")
    edited = edited.replace(b"LAYERS: int = 2", b"LAYERS: int = 1")
    assert edited != files["hyperparameters.py"]
    submission = Submission(
        role="meta",
        hypothesis="Four times the steps.",
        files={**files, "hyperparameters.py": edited},
        diff="",
        lineage_view="",
        parent=0,
        seed=campaign.seed,
        surface=("hyperparameters.py",),
    )
    submit_trial(campaign.pk, submission, actor="test", enqueue=dispatch.evaluation(campaign))


@pytest.mark.django_db(transaction=True)
def test_a_search_calibrates_confirms_what_looks_better_and_seals_with_an_interval(workers: Path) -> None:
    chosen = LaunchSettings(environment="parameter_golf", profile="smoke", trials=2, slots=2, seed=1)
    campaign = launch_campaign(chosen, actor="test")
    propose_what_helps(campaign)
    wait_until(lambda: ended(campaign), workers)

    assert (campaign.keep_rule, campaign.state, campaign.state_reason) == (
        "verified", "finished", "all 2 trials are done",
    )  # fmt: skip
    measured = Measurement.objects.filter(campaign=campaign)
    assert measured.filter(purpose=Purpose.CALIBRATION).count() == confirm.CALIBRATION_SEEDS - 1
    assert campaign.noise_sd is not None and campaign.noise_sd > 0
    seeds = measured.filter(trial__number=0).values_list("seed", flat=True)
    assert len(set(seeds)) == len(seeds)
    assert books_are_right(campaign)

    candidates = Trial.objects.of(campaign.pk).filter(label=Label.PROVISIONAL)
    assert not candidates.filter(standing=Label.PROVISIONAL).exists()
    for decision in Confirmation.objects.filter(campaign=campaign):
        assert decision.ruling in (Ruling.CONFIRMED, Ruling.REFUTED) and decision.pairs >= 1
        arms = Evaluation.objects.filter(confirmation=decision, state="judged")
        assert {arm.trial_id for arm in arms} == {decision.trial_id, decision.incumbent_id}
    closed = Event.objects.filter(campaign=campaign, kind=EventKind.CONFIRMATION_CLOSED).count()
    assert closed == candidates.count() > 0
    calibrated = Event.objects.get(campaign=campaign, kind=EventKind.CAMPAIGN_CALIBRATED)
    sessions = Event.objects.filter(campaign=campaign, kind=EventKind.SESSION_STARTED)
    assert sessions.exists() and not sessions.filter(seq__lt=calibrated.seq).exists()

    report = build_report(campaign).body
    assert report["noise_sd"] == campaign.noise_sd and report["trials"] == 2
    sealed = report["sealed"]
    assert sealed["seeds"] == confirm.SEALED_SEEDS and sealed["start_interval"][0] < sealed["start"]
    kept = Campaign.objects.get(pk=campaign.pk).keep_count
    assert (sealed["difference_interval"] is not None) == (kept > 0)
