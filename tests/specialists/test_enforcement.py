"""Edits outside a role's surface: refused where surfaces are strict, measured and recorded where they are advice."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from evaluators import services as evaluators
from evaluators.preflight import read_recipe
from evaluators.registry import ENVIRONMENTS
from specialists import services, sessions
from specialists.launch import LaunchSettings, launch_campaign
from specialists.models import Session
from specialists.proposers.command.prompt import prompt
from tests.factories import finish, make_campaign, run_trial, start
from tests.specialists.test_command import Agent, agent
from trials.models import Campaign, Evaluation, Event, Trial
from trials.services import submissions
from trials.services.reports import current_report

__all__ = ["agent"]


def session_of(campaign: Campaign) -> Session:
    """One session of the role that owns a.py, run here."""
    now = timezone.now()
    session = Session.objects.create(
        campaign=campaign, number=0, role="architecture", seed=1, started_at=now, lease_expires_at=now + sessions.wait()
    )
    services.run_session(session.pk)
    session.refresh_from_db()
    return session


@pytest.mark.django_db(transaction=True)
def test_strict_surfaces_refuse_an_edit_outside_of_them(agent: Agent) -> None:
    campaign = make_campaign(proposer="command")
    run_trial(campaign, 2.0, parent=None)
    agent.set_up("outside")
    session = session_of(campaign)
    assert (session.state, session.trial) == ("failed", None)
    assert session.note == "BadProposal: b.py is outside the role's surface, expected one of a.py"


@pytest.mark.django_db(transaction=True)
def test_advisory_surfaces_let_it_pass_and_record_the_crossing(agent: Agent, admin_client: Client) -> None:
    campaign = make_campaign(proposer="command", enforcement="advisory")
    run_trial(campaign, 2.0, parent=None)
    agent.set_up("outside")
    session = session_of(campaign)
    assert session.state == "submitted" and session.trial is not None, session.note
    assert session.trial.proposal["crossed"] == ["b.py"] and session.trial.surface == ["a.py"]
    crossing = Event.objects.get(campaign=campaign, kind="boundary_crossed")
    assert crossing.payload == {"number": 1, "role": "architecture", "files": ["b.py"]}
    trial = finish(start(session.trial), 1.9)
    assert trial.numbers == {"files_outside_surface": 1}
    campaign.refresh_from_db()
    report = current_report(campaign)
    assert (report["enforcement"], report["boundary_crossings"]) == ("advisory", 1)
    page = admin_client.get(campaign.get_absolute_url()).content.decode()
    assert "surfaces <b>advisory</b> · <b>1</b> trial crossed them" in page
    page = admin_client.get(trial.get_absolute_url()).content.decode()
    assert "<dt>Changed outside of that</dt><dd><code>b.py</code></dd>" in page


@pytest.mark.django_db(transaction=True)
def test_files_of_nobody_stay_shut_where_surfaces_are_advice(agent: Agent) -> None:
    campaign = make_campaign(proposer="command", enforcement="advisory")
    run_trial(campaign, 2.0, parent=None)
    agent.set_up("joins")
    assert session_of(campaign).note.startswith("BadProposal: recipe.py is outside")


def test_the_task_tells_an_agent_what_is_advice(agent: Agent) -> None:
    strict = prompt(agent.request(), 0, ["a.py", "b.py", "recipe.py"])
    advised = prompt(agent.request(may_change=("a.py", "b.py")), 0, ["a.py", "b.py", "recipe.py"])
    assert "Other roles own" not in strict and "b.py, recipe.py must stay" in strict
    assert "Other roles own b.py." in advised and "Nothing else: recipe.py must stay" in advised


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "enforcement,reason",
    [("strict", "optimization.py is outside the role's surface"), ("advisory", "RuntimeError: ran")],
)
def test_the_evaluator_goes_by_the_campaigns_rule(enforcement: str, reason: str) -> None:
    """A crossing edit that fails as soon as it runs: only where surfaces are advice does it get that far."""
    chosen = LaunchSettings(environment="parameter_golf", profile="smoke", enforcement=enforcement, keep_rule="strict")
    campaign = launch_campaign(chosen, actor="test")
    source = read_recipe(ENVIRONMENTS["parameter_golf"].spec, "smoke")
    submission = submissions.Submission(
        role="architecture", hypothesis="Crosses.", diff="", lineage_view="", parent=0, seed=0,
        surface=("architecture.py",), files={**source, "optimization.py": b"raise RuntimeError('ran')\n"},
    )  # fmt: skip
    submissions.submit_trial(campaign.pk, submission, actor="test", enqueue=lambda evaluation_id: None)
    assert evaluators.evaluate(Evaluation.objects.get(trial__number=1).pk) == campaign.pk
    evaluators.judge_measured(campaign.pk)
    trial = Trial.objects.get(campaign=campaign, number=1)
    assert (trial.label, trial.reason) == ("preflight_crash", reason)
