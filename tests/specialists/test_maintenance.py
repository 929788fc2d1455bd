"""Maintenance: nothing new is begun, what runs finishes, pages stay and say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from evaluators import services as evaluators
from specialists import services, sessions
from specialists.launch import LaunchError, LaunchSettings, launch_campaign
from specialists.models import Session
from specialists.operations import ticking, waits
from tests.factories import finish, make_campaign, order_of, run_trial, start, submit
from trials.models import Campaign
from trials.services import leases, maintenance, shares
from trials.site_models import SiteEvent

pytestmark = pytest.mark.django_db
REASON = "<b>new</b> disks"


@pytest.fixture
def searching() -> Campaign:
    """A search with one trial that runs, one that waits, and a session that waits."""
    campaign = make_campaign(slots=5)
    run_trial(campaign, 2.0, parent=None)
    return campaign


@pytest.fixture(autouse=True)
def _ticks() -> Iterator[None]:
    ticking.ticked()
    yield
    cache.delete(ticking.KEY)


def test_nothing_new_is_begun_and_what_runs_finishes(
    searching: Campaign, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluators, "why_unfit", lambda order: "")  # which tries this host's sandbox
    running, queued = start(submit(searching)), order_of(submit(searching))
    services.advance(searching.pk)
    waiting = Session.objects.filter(campaign=searching, worker="")
    opened = waiting.count()
    assert opened > 0
    assert maintenance.begin(actor="ada", reason=REASON)

    with pytest.raises(LaunchError, match=r"maintenance: nothing is launched since .* by ada, expected its end"):
        launch_campaign(LaunchSettings("parameter_golf", profile="smoke"), actor="test")
    assert Campaign.objects.count() == 1
    finish(running, 1.9)
    services.advance(searching.pk)
    assert waiting.count() == opened, "a free slot stays free"
    assert sessions.claim(waiting.earliest("pk").pk) is None
    assert evaluators.evaluate(queued.pk) is None
    queued.refresh_from_db()
    assert (queued.state, queued.attempt, shares.waiting("cpu")) == ("queued", 0, [])
    client.force_login(User.objects.create_superuser("ada"))
    page = client.get(searching.get_absolute_url())
    assert page.status_code == 200
    assert "nothing new is begun" in page.content.decode() and "&lt;b&gt;new&lt;/b&gt; disks" in page.content.decode()
    assert ("", "maintenance", True) in {(wait.campaign, wait.kind, wait.hangs) for wait in waits.hanging()}
    client.logout()
    assert "data-maintenance" not in client.get("/login/").content.decode()

    assert maintenance.end(actor="ada")
    assert sessions.claim(waiting.earliest("pk").pk) is not None
    [chance] = shares.waiting("cpu")
    assert leases.claim_evaluation(queued.pk, "host:1", chance) is not None
    services.advance(searching.pk)
    assert Session.objects.filter(campaign=searching).count() > opened
    told = list(SiteEvent.objects.filter(kind="maintenance").order_by("seq").values_list("actor", flat=True))
    assert told == ["ada", "ada"]


def test_the_command_turns_it_on_and_off_once(searching: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    start(submit(searching))
    call_command("maintenance", "on", reason="disks")
    assert capsys.readouterr().out.splitlines()[1] == "1 measurements are still running"
    with pytest.raises(CommandError, match="maintenance is on already, expected off first"):
        call_command("maintenance", "on")
    with pytest.raises(CommandError, match="status has no --reason"):
        call_command("maintenance", "status", reason="x")
    call_command("maintenance", "off")
    assert capsys.readouterr().out == "maintenance is off\n"
    with pytest.raises(CommandError, match="maintenance is not on"):
        call_command("maintenance", "off")
    payloads = [event.payload for event in SiteEvent.objects.filter(kind="maintenance").order_by("seq")]
    assert payloads == [{"on": True, "reason": "disks"}, {"on": False}]
