"""Each thing that must always be true is broken once, behind the database's own guards, and is told."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from evaluators.sandbox import leftovers
from evaluators.sandbox.view import ENTRY
from specialists import sessions
from specialists.invariants import check_sessions
from specialists.management.commands.check_invariants import host, record
from specialists.models import Session
from specialists.vocab import SessionState
from tests.factories import calibrated, make_campaign, measure_repeats, run_trial, start, submit
from trials import clock
from trials.invariants import check_campaign
from trials.models import Campaign
from trials.services.events import append_event
from trials.vocab import EventKind, Label

TABLES = (
    "trials_event", "trials_trial", "trials_measurement", "trials_frontierstep", "trials_confirmation", "trials_blob",
)  # fmt: skip


@pytest.fixture
def campaign(db: None) -> Campaign:
    """Finished trials of several labels, one that runs and one that waits."""
    made = make_campaign(slots=4)
    run_trial(made, 2.0, parent=None)
    run_trial(made, 1.9)
    run_trial(made, 1.95, role="optimization")
    run_trial(made, None, Label.SIZE_BLOCKED, reason="12 bytes over", numbers={"bytes_over": 12, "artifact_bytes": 9})
    run_trial(made, None, Label.CRASH, reason="ValueError: no")
    start(submit(made, parent=1))
    submit(made, parent=2)
    now, lease = clock.now(), clock.now() + sessions.lease()
    Session.objects.create(campaign=made, number=0, role="architecture", seed=1, started_at=now, lease_expires_at=lease)
    with transaction.atomic():
        locked: Campaign = Campaign.objects.locked(made.pk)
        append_event(locked, EventKind.SESSION_STARTED, "loop", {"session": 0, "role": "architecture"})
    return fresh(made)


def fresh(campaign: Campaign) -> Campaign:
    return Campaign.objects.select_related("best_trial").get(pk=campaign.pk)


def told(campaign: Campaign) -> set[str]:
    again = fresh(campaign)
    return {violation.invariant for violation in [*check_campaign(again), *check_sessions(again)]}


@contextmanager
def broken(statement: str) -> Iterator[None]:
    """One statement by the tables' owner with their triggers off; undone at the end."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(statement)
        assert cursor.rowcount > 0, statement
        yield
        transaction.set_rollback(True)


WAYS = [
    ("UPDATE trials_campaign SET last_number = last_number + 1", "numbers"),
    ("UPDATE trials_trial SET number = 70 WHERE number = 6", "numbers"),
    ("UPDATE trials_event SET body = replace(body, '2.0', '1.0') WHERE kind = 'trial_finished'", "chain"),
    ("DELETE FROM trials_event WHERE seq = 3", "chain"),
    ("DELETE FROM trials_event WHERE seq = (SELECT max(seq) FROM trials_event)", "chain"),
    ("UPDATE trials_event SET previous_sha256 = '' WHERE seq = 4", "chain"),
    ("UPDATE trials_trial SET score = 1.5 WHERE number = 1", "outcomes"),
    ("UPDATE trials_trial SET label = 'discard', standing = 'discard' WHERE number = 1", "outcomes"),
    ("UPDATE trials_trial SET state = 'queued' WHERE number = 5", "outcomes"),
    ("UPDATE trials_campaign SET state = 'stopped'", "outcomes"),
    ("UPDATE trials_evaluation SET purpose = 'sealed' WHERE state = 'queued'", "outcomes"),
    ("UPDATE trials_evaluation SET lease_expires_at = lease_expires_at - interval '1 minute'", "leases"),
    ("UPDATE trials_evaluation SET lease_expires_at = lease_expires_at + interval '1 hour'", "leases"),
    ("UPDATE trials_evaluation SET lease_expires_at = NULL WHERE state = 'running'", "leases"),
    (
        "UPDATE trials_evaluation SET (sent_at, queued_at) = (sent_at - age, queued_at - age) "
        "FROM (SELECT interval '5 minutes' AS age) AS old WHERE state = 'queued'",
        "leases",
    ),
    ("UPDATE trials_evaluation SET state = 'judged', lease_expires_at = NULL WHERE state = 'running'", "measurements"),
    ("UPDATE trials_measurement SET body = '{}' WHERE status = 'crash'", "measurements"),
    ("UPDATE trials_campaign SET trial_count = trial_count + 1", "counters"),
    ("UPDATE trials_campaign SET keep_count = 0", "counters"),
    ("UPDATE trials_campaign SET best_score = 1.95", "counters"),
    ("UPDATE trials_frontierstep SET score = 1.8 WHERE number = 1", "frontier"),
    ("DELETE FROM trials_frontierstep WHERE number = 1", "frontier"),
    ("UPDATE trials_rollup SET trials = trials + 1 WHERE label = 'keep'", "rollups"),
    ("UPDATE trials_rollup SET run_seconds = run_seconds + 1 WHERE label = 'keep'", "rollups"),
    ("UPDATE trials_tally SET run_ms = run_ms + 1 WHERE bin = -1", "sums"),
    ("UPDATE trials_scorecolumn SET counts = '{}' WHERE axis = 'trial'", "sums"),
    ("UPDATE trials_reasontally SET trials = 9", "sums"),
    ("UPDATE trials_parenttally SET keeps = keeps + 1", "sums"),
    ("DELETE FROM trials_miss", "sums"),
    ("UPDATE trials_share SET weight = 9", "weight"),
    (
        "UPDATE trials_blob SET data = '', removed_at = now() WHERE sha256 = (SELECT max(log_id) FROM trials_trial)",
        "logs",
    ),
    ("UPDATE trials_misstally SET level = level - 1", "sums"),
    ("DELETE FROM trials_frontpoint WHERE axis = 'bytes'", "sums"),
    ("UPDATE trials_tallyscale SET origin = 7.0", "sums"),
    ("UPDATE specialists_session SET number = 3", "sessions"),
    ("UPDATE specialists_session SET lease_expires_at = lease_expires_at - interval '1 hour'", "sessions"),
    ("UPDATE specialists_session SET lease_expires_at = lease_expires_at + interval '1 hour'", "sessions"),
    ("UPDATE specialists_session SET state = 'submitted'", "sessions"),
    ("UPDATE specialists_session SET state = 'nothing'", "sessions"),
]


def test_a_whole_record_has_none_and_each_break_is_told(campaign: Campaign) -> None:
    assert told(campaign) == set()
    missed = []
    for statement, invariant in WAYS:
        with broken(statement):
            if invariant not in told(campaign):
                missed.append(statement)
    assert missed == []
    assert told(campaign) == set()


def test_an_attempt_that_is_claimed_twice_is_told(campaign: Campaign) -> None:
    with transaction.atomic():
        locked = Campaign.objects.locked(campaign.pk)
        append_event(locked, EventKind.TRIAL_STARTED, "host:2", {"number": 5, "attempt": 1, "worker": "host:2"})
    assert "leases" in told(campaign)


def test_confirmed_and_refuted_trials_count_by_their_standing(db: None) -> None:
    made = calibrated()
    run_trial(made, 1.5)
    run_trial(made, 1.98)
    for _ in range(8):
        measure_repeats(made, lambda order: 1.5 if order.trial.number == 1 else 2.0)
    again = fresh(made)
    assert again.keep_count == 1
    assert told(made) == set()


def test_after_a_start_of_the_database_everyone_may_speak_up(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "serving_since", clock.now)
    with broken("UPDATE trials_evaluation SET lease_expires_at = lease_expires_at - interval '1 minute'"):
        assert told(campaign) == set()


def test_the_command_tells_what_and_where(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    call_command("check_invariants", campaign=campaign.slug, json=True, stdout=out)
    assert json.loads(out.getvalue()) == {"campaigns": 1, "violations": []}
    with broken("UPDATE trials_campaign SET keep_count = 0"):
        out = io.StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("check_invariants", campaign=campaign.slug, json=True, stdout=out)
    assert ended.value.code == 1
    [violation] = json.loads(out.getvalue())["violations"]
    assert violation == {
        "where": campaign.slug, "invariant": "counters", "what": "keep_count is 0, the events say 1"
    }  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_it_reads_one_view_of_the_record_and_writes_nothing() -> None:
    made = make_campaign()
    run_trial(made, 2.0, parent=None)
    found, checked = record()
    assert (found, checked) == ([], 1)


def test_what_a_killed_worker_leaves_is_told_and_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = subprocess.run(
        [
            sys.executable, "-c",
            "import tempfile; from evaluators.sandbox.leftovers import prefix; "
            "print(tempfile.mkdtemp(prefix=prefix('box')))",
        ],
        env=os.environ | {"TMPDIR": str(tmp_path)}, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    mine = Path(tempfile.mkdtemp(prefix=leftovers.prefix("probe")))
    assert leftovers.stray() == [Path(left)]
    assert [violation.invariant for violation in host(0.0) if str(tmp_path) in violation.what] == ["leftovers"]
    assert leftovers.sweep() == 1
    assert (mine.exists(), Path(left).exists()) == (True, False)


def test_a_sandbox_that_outlives_its_worker_is_told() -> None:
    code = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', "
        "sys.argv[1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    )
    script = [sys.executable, "-c", code, str(ENTRY.parent / "confine.py")]
    pid = int(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    try:
        told_of = [violation.what for violation in host(0.3) if violation.invariant == "processes"]
        assert any(what.startswith(f"process {pid} has outlived its worker") for what in told_of)
    finally:
        os.kill(pid, 9)


def test_sessions_that_were_submitted_have_their_trial(campaign: Campaign) -> None:
    with broken("UPDATE specialists_session SET state = 'submitted'"):
        told_of = [violation.what for violation in check_sessions(fresh(campaign))]
    assert told_of[0] == f"session 0 is {SessionState.SUBMITTED} and has no trial"
