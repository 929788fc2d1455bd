"""A study by itself: real workers, all of them lost in the middle, a cancellation, and its figures from plain rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest
from celery import current_app

from specialists.models import Study, StudyCampaign
from specialists.studies import reports, services
from specialists.studies.plan import StudySettings
from specialists.studies.standing import places
from tests.conftest import running
from tests.path.test_campaign import wait_until
from tests.trials.test_services import chain_is_whole
from trials.models import Campaign, Trial

SETTINGS = StudySettings(
    environment="parameter_golf", profile="smoke", arms=("swarm", "random"), repeats=2, trials=2, keep_rule="strict",
    slots=2, seed=3, parallel=2, name="End to end",
)  # fmt: skip


@contextmanager
def site(folder: Path) -> Iterator[ExitStack]:
    """Workers and beat, which a test may kill and start again."""
    folder.mkdir()
    worker = ("celery", "-A", "autoresearch_site", "worker", "--loglevel", "INFO", "-c", "2")
    beat = ("celery", "-A", "autoresearch_site", "beat", "--loglevel", "INFO", "-s", str(folder / "schedule"))
    queues = {"agents": "agents,agents.models,default", "evaluators": "evaluators.cpu"}
    with ExitStack() as stack:
        for name, queue in queues.items():
            own = (*worker, "-n", f"{name}@{folder.name}", "-Q", queue)
            stack.enter_context(running(*own, log=folder / f"{name}.log"))
        stack.enter_context(running(*beat, log=folder / "beat.log"))
        yield stack


def complete(study: Study) -> list[Campaign]:
    return [place.campaign for place in places(study) if place.campaign is not None and place.complete]


@pytest.mark.django_db(transaction=True)
def test_a_study_survives_its_workers_and_a_cancellation_and_repeats_nothing(tmp_path: Path) -> None:
    current_app.control.purge()
    with site(tmp_path / "first"):
        study = services.launch_study(SETTINGS, actor="test")
        wait_until(lambda: Trial.objects.filter(campaign__study_member__study=study).count() > 2, tmp_path / "first")
    # all of them are gone, with work in flight; the same command finds the study and new workers go on with it
    before = list(StudyCampaign.objects.values_list("campaign", flat=True))
    with site(tmp_path / "second"):
        assert services.launch_study(SETTINGS, actor="test").pk == study.pk
        wait_until(lambda: len(complete(study)) >= 1, tmp_path / "second")
        services.cancel_study(study, actor="ada")
        kept = {campaign.pk: campaign.head_sha256 for campaign in complete(study)}
        assert set(before) <= set(StudyCampaign.objects.values_list("campaign", flat=True))
        services.resume_study(study, actor="ada")

        def over() -> bool:
            study.refresh_from_db()
            return study.state != "running"

        wait_until(over, tmp_path / "second")
    found = complete(study)
    assert (study.state, study.state_reason, len(found)) == ("finished", "", 4)
    assert kept.items() <= {campaign.pk: campaign.head_sha256 for campaign in found}.items()
    assert all(chain_is_whole(campaign) for campaign in found)
    assert {(one.proposer, one.seed) for one in found} == {(p, s) for p in ("catalog", "random") for s in (3, 4)}

    report = reports.current_report(study)
    for name, proposer in (("swarm", "catalog"), ("random", "random")):
        gains = []
        for campaign in (one for one in found if one.proposer == proposer):
            scores = dict(Trial.objects.filter(campaign=campaign).values_list("number", "score"))
            best = min(score for score in scores.values() if score is not None)
            gains.append(100 * (scores[0] - best) / scores[0])
        arm = report["arms"][name]
        assert arm["gain_pct"]["values"] == pytest.approx(gains)
        assert arm["by_trial"]["median"][-1] == pytest.approx(median(gains))
        assert (arm["n"], arm["trials"]) == (2, [2, 2])
    assert report["comparisons"][0]["n"] == [2, 2] and 0.0 < report["comparisons"][0]["p"] <= 1.0
