"""An evaluator's host does its work with a role of the database that may do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import ProgrammingError, connection, transaction

from evaluators import services
from tests.factories import make_campaign, order_of, record, run_trial, submit
from trials.canonical import sha256_bytes
from trials.invariants import check_campaign
from trials.models import Campaign, Evaluation, Trial
from trials.services import leases, retention, shares, workers
from trials.services.blobs import get_text, get_tree
from trials.services.workers import Capability
from trials.vocab import EvaluationState

ROLE = "evaluator_under_test"
FORBIDDEN = (
    "UPDATE trials_trial SET label = 'keep'",
    "UPDATE trials_trial SET score = 0.1",
    "UPDATE trials_campaign SET best_score = 0.1",
    "UPDATE trials_campaign SET state = 'stopped'",
    "UPDATE trials_evaluation SET seed = 1",
    "UPDATE trials_measurement SET score = 0.1",
    "UPDATE trials_event SET body = '{}'",
    "UPDATE trials_blob SET data = ''",
    "DELETE FROM trials_evaluation",
    "DELETE FROM trials_blob",
    "INSERT INTO trials_frontierstep (campaign_id, trial_id, number, score, at) VALUES (1, 1, 1, 0.1, now())",
    "SELECT password FROM auth_user",
    "SELECT * FROM trials_apitoken",
    "SELECT * FROM django_session",
    "SELECT * FROM specialists_session",
    "CREATE TABLE mine (x int)",
)


@pytest.fixture
def role(db: None) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {ROLE}")
    call_command("evaluator_role", ROLE, verbosity=0)
    return ROLE


@contextmanager
def acting_as(role: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {role}")
        yield
        cursor.execute("RESET ROLE")


def test_it_claims_measures_posts_and_hands_back(role: str) -> None:
    campaign = make_campaign(slots=4)
    run_trial(campaign, 2.0, parent=None)
    first, second = submit(campaign), submit(campaign)
    with acting_as(role):
        workers.announce(Capability("host:1", "cpu", "a CPU", 1, 1 << 30, "L3"))
        assert workers.seen("host:1")
        claimed = leases.claim_evaluation(order_of(first).pk, "host:1")
        assert claimed is not None
        assert get_tree(claimed.trial.tree_sha256)["b.py"] == b"y = 0\n"
        assert leases.heartbeat(claimed.pk, claimed.attempt, phase="train", progress=0.5)
        assert leases.post_measurement(claimed.pk, claimed.attempt, record(1.9), b"step 1\n")
        other = leases.claim_evaluation(order_of(second).pk, "host:1")
        assert other is not None
        assert leases.give_back(other.pk, other.attempt, "the disk is full") == EvaluationState.QUEUED
        leases.put_off(other.pk, "nothing is free")
        workers.leave("host:1")
    assert services.judge_measured(campaign.pk) == 1
    assert Trial.objects.of(campaign.pk).get(number=1).label == "keep"
    again = Campaign.objects.select_related("best_trial").get(pk=campaign.pk)
    assert list(check_campaign(again)) == []
    assert Evaluation.objects.get(pk=other.pk).state == EvaluationState.QUEUED


def test_it_stores_a_log_again_that_retention_has_taken_away(role: str) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.0, parent=None, log=b"epoch 1\n")
    retention.run(partial(retention.plan, most_bytes=0), actor="test", rule={})
    order = order_of(submit(campaign))
    connection.cursor().execute("SET autoresearch.retention = 'off'")
    with acting_as(role):
        [chance] = shares.waiting("cpu")
        claimed = leases.claim_evaluation(order.pk, "host:1", chance)
        assert claimed is not None
        assert leases.post_measurement(claimed.pk, claimed.attempt, record(1.9), b"epoch 1\n")
        assert shares.waiting("cpu") == []
    assert get_text(sha256_bytes(b"epoch 1\n")) == "epoch 1\n"


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_it_may_do_nothing_else(role: str, statement: str) -> None:
    run_trial(make_campaign(), 2.0, parent=None)
    with (
        acting_as(role),
        pytest.raises(ProgrammingError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["nobody_at_all", "autoresearch"])
def test_a_role_that_cannot_be_limited_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match=f"role '{name}' .*expected one of its own"):
        call_command("evaluator_role", name, verbosity=0)
