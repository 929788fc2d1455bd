"""A search with a language model, the whole way: workers, broker, database, sandboxes; only the model is scripted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings as site
from django.db import connection

from evaluators import preflight
from specialists.launch import launch_campaign
from specialists.models import Session
from tests.attacks.tiny import GOLF
from tests.path.test_campaign import ended, settings, wait_until
from tests.specialists.llm_server import Asked, Broken, Reply, Use, serving
from tests.specialists.llm_tools import MODEL, hand_in, point_at, priced, spent, surface_of
from tests.trials.test_services import chain_is_whole
from trials.models import Blob, Trial
from trials.services.blobs import get_blob, get_text

KEY = "sk-ant-path-test-5f0c1a77e2"
#: A recipe that tells all it can find of its surroundings, and then does its work.
NOSY = """import os
print("ENVIRONMENT", dict(os.environ))
for name in ("/proc/self/environ", "/proc/1/environ", f"/proc/{os.getppid()}/environ"):
    try:
        print(name, open(name, "rb").read())
    except OSError as error:
        print(name, error)
"""


def script(asked: Asked) -> Reply | Broken:
    """Edits whatever its role owns; every fifth request fails in one way or another."""
    if asked.number % 5 == 4:
        return (Broken("status", 529), Broken("cut"), Broken("stream_error"))[asked.number // 5 % 3]
    if asked.turns == 0:
        return Reply("", [Use("read_file", {"name": surface_of(asked)}), Use("search_trials")])
    if asked.turns == 1:
        text = f"{NOSY}x = {asked.number}\n"
        return Reply("", [Use("write_file", {"name": surface_of(asked), "text": text}), Use("project_size")])
    return hand_in(asked)


@pytest.mark.django_db(transaction=True)
def test_a_search_with_a_model_accounts_for_everything_and_keeps_its_key(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start imports every file that a role owns, so that each trial runs what the model wrote."""
    joins = "".join(f"import {name.removesuffix('.py')}\n" for name in GOLF.environment.spec.files)
    start = {name: data if data == b"" else joins.encode() + data for name, data in GOLF.recipe({}).items()}
    monkeypatch.setattr(preflight, "read_recipe", lambda spec, profile: start)
    with serving(script) as server:
        point_at(monkeypatch, server, ANTHROPIC_API_KEY=KEY, LLM_CAMPAIGN_USD="5")
        logs: Path = request.getfixturevalue("workers")
        campaign = launch_campaign(settings(proposer="llm", trials=3, seed=2), actor="test")
        wait_until(lambda: ended(campaign), logs)
        charged = list(server.charged)
    assert (campaign.state, campaign.state_reason) == ("finished", "all 3 trials are done")
    sessions = list(Session.objects.filter(campaign=campaign))
    assert {session.state for session in sessions} <= {"submitted", "failed"}
    assert sum(session.state == "submitted" for session in sessions) == 3
    assert all(session.transcript_id and session.ended_at for session in sessions)
    assert spent(campaign) == priced(campaign, charged, MODEL["anthropic"]) > 0
    assert chain_is_whole(campaign)

    trials = list(Trial.objects.of(campaign.pk).filter(number__gt=0))
    assert {trial.label for trial in trials} <= {"discard", "keep"}, [trial.reason for trial in trials]
    assert all("ENVIRONMENT" in get_text(trial.log_id) for trial in trials)  # the model's code ran, in a sandbox
    transcripts = "".join(get_text(call.body_id) for session in sessions for call in session.calls.all())
    assert "Projected artifact" in transcripts

    assert any(KEY in value for value in server.asked[0].headers.values())
    blobs = [get_blob(sha256) for sha256 in Blob.objects.values_list("pk", flat=True)]
    assert not [blob for blob in blobs if KEY.encode() in blob]
    assert KEY not in _dump()
    assert not [log.name for log in logs.glob("*.log") if KEY in log.read_text()]


def _dump() -> str:
    """Every row of the database as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'trials_blob'")
        tables = [row[0] for row in cursor.fetchall()]
        rows = []
        for table in tables:
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)


def test_a_launch_without_a_model_is_refused_in_one_line(tmp_path: Path) -> None:
    wanted = ["launch", "parameter_golf", "--profile", "smoke", "--proposer", "llm"]
    done = subprocess.run(
        [".venv/bin/python" if Path(".venv/bin/python").exists() else "python", "manage.py", *wanted],
        cwd=site.BASE_DIR,
        env={name: value for name, value in os.environ.items() if not name.startswith("LLM_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith("proposer: LLM_PROVIDER is not set, expected one of anthropic, openai, compatible")
    )
