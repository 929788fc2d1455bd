"""A campaign by an agent with a command line, through real workers, sandboxes and the starting recipe at smoke size."""

from __future__ import annotations

import json
import shlex
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from specialists import services, sessions
from specialists.launch import LaunchError, launch_campaign
from specialists.models import Session
from specialists.proposals import Request
from specialists.proposers.command.prompt import prompt
from specialists.rosters import PAPER_TEN, role_from_json
from specialists.vocab import SessionState
from tests.factories import make_campaign, run_trial
from tests.path.test_campaign import ended, settings, wait_until
from tests.specialists.test_command import AGENT
from tests.trials.test_services import chain_is_whole
from trials.lineage import build_slice
from trials.models import Blob, Campaign, Event, Trial
from trials.services.blobs import get_blob, get_text, get_tree

KEY = "sk-a-key-of-the-agent"


@pytest.fixture
def scripted_agent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of workers that have an agent; made before they start."""
    folder = tmp_path_factory.mktemp("agent")
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    shutil.copy(AGENT, folder / "agent.py")
    words = ["{python}", str(folder / "agent.py"), "by_role", "{prompt}"]
    monkeypatch.setenv("AUTORESEARCH_COMMAND", shlex.join(words))
    monkeypatch.setenv("AUTORESEARCH_COMMAND_SHOW", str(folder))
    monkeypatch.setenv("AUTORESEARCH_COMMAND_VARIABLES", "AGENT_KEY")
    monkeypatch.setenv("AGENT_KEY", KEY)


@pytest.mark.django_db(transaction=True)
def test_a_campaign_by_an_agent_runs_by_itself(scripted_agent: None, workers: Path) -> None:
    # With this seed the role that has no luck comes first.
    campaign = launch_campaign(settings(proposer="command", trials=2, seed=50), actor="test")
    wait_until(lambda: ended(campaign), workers)

    assert (campaign.state, campaign.state_reason) == ("finished", "all 2 trials are done")
    assert chain_is_whole(campaign)
    surfaces = {role.name: role.surface for role in PAPER_TEN.roles}
    for trial in Trial.objects.of(campaign.pk).filter(number__gt=0).select_related("parent"):
        assert trial.parent is not None and trial.parent.number == 0
        parent, source = get_tree(trial.parent.source_id), get_tree(trial.source_id)
        (changed,) = (name for name in source if source[name] != parent[name])
        assert changed in surfaces[trial.role] and trial.label == "discard"
        assert trial.score == trial.parent.score
        assert trial.hypothesis == f"A comment in {changed} changes nothing."
        assert trial.proposal["notes"]["agent"]["variables"] == ["AGENT_KEY"]
        session = Session.objects.get(trial=trial)
        transcript = json.loads(get_text(session.transcript_id))
        assert transcript["prompt"].startswith("# Task") and "my key is [value removed]" in transcript["log"]
        event = Event.objects.get(campaign=campaign, trial=trial, kind="session_ended")
        assert event.payload["transcript"] == session.transcript_id

    unlucky = Session.objects.get(campaign=campaign, number=0)
    assert (unlucky.role, unlucky.state) == ("loss", "failed")
    assert unlucky.note == "BadProposal: the agent exited with 3: out of credit"
    assert json.loads(get_text(unlucky.transcript_id))["status"] == 3
    assert not any(KEY.encode() in get_blob(blob) for blob in Blob.objects.values_list("pk", flat=True))
    assert not Event.objects.filter(body__contains=KEY).exists()
    assert not any(KEY in log.read_text() for log in workers.glob("*.log"))


def test_a_launch_without_an_agent_is_refused_in_one_line(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTORESEARCH_COMMAND", raising=False)
    with pytest.raises(CommandError, match="proposer: AUTORESEARCH_COMMAND is not set, expected the command line of"):
        call_command("launch", "parameter_golf", profile="smoke", proposer="command")
    assert not Campaign.objects.exists()


def test_an_agent_does_not_repeat_itself(db: None, scripted_agent: None) -> None:
    with pytest.raises(LaunchError, match="reproducible: an agent does not repeat itself"):
        launch_campaign(settings(proposer="command", reproducible=True), actor="test")


def running_session(proposer: str) -> Session:
    campaign = make_campaign(proposer=proposer)
    run_trial(campaign, 2.0, parent=None)
    now = timezone.now()
    return Session.objects.create(
        campaign=campaign, number=0, role="architecture", seed=1, started_at=now, lease_expires_at=now + sessions.wait()
    )


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sessions whose message was sent."""
    found: list[int] = []
    monkeypatch.setattr("specialists.dispatch.session", lambda session: found.append(session.pk))
    return found


@pytest.mark.django_db
def test_a_session_is_claimed_once_and_renewed_while_its_campaign_lives(sent: list[int]) -> None:
    waiting = running_session("command")
    session = sessions.claim(waiting.pk)
    assert session is not None and sessions.claim(waiting.pk) is None
    Session.objects.update(lease_expires_at=timezone.now() + timedelta(seconds=1))
    assert sessions.renew(session) and sessions.holds(session)
    session.refresh_from_db()
    assert session.lease_expires_at > timezone.now() + timedelta(seconds=30)
    Campaign.objects.update(state="stopped")
    assert not sessions.renew(session)


@pytest.mark.django_db
@pytest.mark.parametrize("proposer,again", [("command", False), ("catalog", True)])
def test_a_worker_that_fell_silent_loses_its_session(sent: list[int], proposer: str, again: bool) -> None:
    waiting = running_session(proposer)
    Session.objects.update(lease_expires_at="2000-01-01T00:00Z")
    services.tick()
    assert sent[0] == waiting.pk  # its message was lost: nobody had it
    session = sessions.claim(waiting.pk)
    assert session is not None
    Session.objects.filter(pk=session.pk).update(lease_expires_at="2000-01-01T00:00Z")
    sent.clear()
    services.tick()
    assert (session.pk in sent) is again and not sessions.holds(session)
    assert not sessions.close(session, SessionState.SUBMITTED, note="", view="")
    session.refresh_from_db()
    assert session.state == ("running" if again else "failed")
    assert again or "stopped answering" in session.note


@pytest.mark.django_db
@pytest.mark.parametrize("policy,told", [("none", False), ("shared", True)])
def test_without_lineage_nothing_of_other_trials_is_in_the_task(policy: str, told: bool) -> None:
    campaign = make_campaign(proposer="command", lineage=policy)
    run_trial(campaign, 2.0, parent=None)
    run_trial(campaign, 2.5, hypothesis="A wider kernel hurts.", role="optimization")
    request = Request(
        role=role_from_json(campaign.roles[0]),
        view=build_slice(campaign, "architecture"),
        read_source=lambda number: {},
        seen=lambda files: None,
        seed=0,
    )
    assert ("A wider kernel" in prompt(request, 0, ["a.py"])) is told
