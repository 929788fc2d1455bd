"""A campaign watched in a browser: rows come and change without a reload; after a cut the page equals the database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.browser.conftest import Complaints
from tests.factories import finish, make_campaign, run_trial, start, submit
from trials import catch_up, views
from trials.live import campaign_head, trial_row
from trials.models import Campaign, Trial
from trials.services import answers, campaigns, leases
from trials.services.events import append_event
from trials.vocab import Answer, CampaignState, EventKind

FIELDS = ("number", "role", "state", "label", "reason", "score", "delta_vs_parent", "delta_vs_best", "artifact_bytes",
          "hypothesis", "parent", "queue_seconds", "run_seconds", "eval_seconds", "submitted_at")  # fmt: skip
READ_TABLE = """() => Array.from(document.querySelectorAll("#trial-rows tr"), (row) => Object.fromEntries(
  Array.from(row.querySelectorAll("[data-field]"), (cell) => [cell.dataset.field, cell.dataset.value])))"""
READ_TEXT = """() => Array.from(document.querySelectorAll("#trial-rows tr"), (row) => Array.from(
  row.querySelectorAll("[data-field]:not([data-field=submitted_at], [data-field=state])"),
  (cell) => cell.textContent.trim()).join("|"))"""
IDEAS = [
    "Widen the model.",
    'Say "less" & <more>.',
    "x" * 300,
    "Two\nlines, and a tail " + "that goes on " * 40,
    "\u202eevil",
]


@pytest.fixture
def campaign(transactional_db: None) -> Campaign:
    campaign = make_campaign(max_trials=1000)
    run_trial(campaign, 2.4, parent=None)
    campaign.refresh_from_db()
    return campaign


def open_live(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")


def wait_for_database(page: Page, campaign: Campaign) -> None:
    """Until the page has applied the last event of the database."""
    campaign.refresh_from_db()
    expect(page.locator("main")).to_have_attribute("data-seq", str(campaign.last_seq))


def plain(value: Any) -> Any:
    """A value as both sides write it: numbers as floats, nothing as an empty text."""
    if value is None or value == "":
        return ""
    try:
        return float(value)
    except ValueError:
        return value


def assert_page_equals_database(page: Page, campaign: Campaign) -> None:
    """Every row and every figure; then the texts are those of a freshly loaded page."""
    wait_for_database(page, campaign)
    rows = [trial_row(trial) for trial in Trial.objects.of(campaign.pk).select_related("parent").order_by("-number")]
    expected = [{name: plain(row[name]) for name in FIELDS} for row in rows]
    shown = [{name: plain(row[name]) for name in FIELDS} for row in page.evaluate(READ_TABLE)]
    assert shown == expected
    head = campaign_head(campaign)
    assert page.locator('span[data-head="trials"]').inner_text() == str(head["trials"])
    assert page.locator('[data-head="keeps"]').inner_text() == str(head["keeps"])
    assert page.locator('[data-head="best_score"]').inner_text() == f"{head['best_score']:.5f}"
    texts = page.evaluate(READ_TEXT)
    fresh = page.context.new_page()
    fresh.goto(page.url)
    assert texts[: views.ROWS_PER_PAGE] == fresh.evaluate(READ_TEXT)[: views.ROWS_PER_PAGE]
    fresh.close()


def test_a_trial_appears_runs_and_finishes_without_a_reload(
    page: Page, campaign: Campaign, complaints: Complaints
) -> None:
    open_live(page, campaign.get_absolute_url())
    expect(
        page.locator('[data-chart="frontier"] .js-plotly-plot, [data-chart="frontier"] .main-svg').first
    ).to_be_visible()
    trial = submit(campaign, hypothesis=IDEAS[1])
    row = page.locator('#trial-rows tr[data-number="1"]')
    expect(row.locator(".badge")).to_have_text("queued")
    expect(page.locator('[data-open="queued"]')).to_have_text("1")
    evaluation = start(trial)
    expect(row.locator(".badge")).to_have_text("running")
    leases.heartbeat(evaluation.pk, evaluation.attempt, phase="train", progress=0.42)
    expect(row.locator(".phase")).to_have_text("train 42 %")
    assert row.locator("progress").evaluate("element => element.value") == pytest.approx(0.42)
    finish(evaluation, 2.1)
    expect(row.locator(".badge")).to_have_text("keep")
    expect(row.locator(".doing")).to_be_hidden()
    expect(page.locator('[data-head="best_score"]')).to_have_text("2.10000")
    expect(page.locator('[data-head="improvement"]')).to_have_text("\u221212.50 %")
    expect(page.locator("[data-latest]")).to_contain_text("is measured")
    page.wait_for_function(
        "() => document.querySelector('[data-chart=frontier] .plot').data?.[0].y.join() === '2.4,2.1,2.1'"
    )
    assert_page_equals_database(page, campaign)
    campaigns.change_state(campaign.pk, CampaignState.PAUSED, actor="test", reason="a look first")
    expect(page.locator("[data-state-badge]")).to_have_text("paused")
    expect(page.locator('[data-head="state_reason"]')).to_have_text("a look first")
    assert (complaints.errors, complaints.loads) == ([], 1)


def test_a_trial_that_nobody_can_take_says_why_on_the_page(
    page: Page, campaign: Campaign, complaints: Complaints
) -> None:
    open_live(page, campaign.get_absolute_url())
    order = submit(campaign).evaluations.get()
    doing = page.locator('#trial-rows tr[data-number="1"] .doing')
    expect(doing).to_be_hidden()
    leases.explain_wait(order.pk, 'no <b>"evaluator"</b> for cuda is running')
    expect(doing.locator(".phase")).to_have_text('waits: no <b>"evaluator"</b> for cuda is running')
    expect(doing.locator("progress")).to_be_hidden()
    page.reload()
    expect(doing.locator(".phase")).to_have_text('waits: no <b>"evaluator"</b> for cuda is running')
    evaluation = start(order.trial)
    leases.heartbeat(evaluation.pk, evaluation.attempt, phase="train", progress=0.5)
    expect(doing.locator(".phase")).to_have_text("train 50 %")
    expect(doing.locator("progress")).to_be_visible()
    assert complaints.errors == []


def test_the_page_of_a_running_trial_shows_the_end_of_what_it_prints(
    page: Page, campaign: Campaign, complaints: Complaints
) -> None:
    evaluation = start(submit(campaign))
    open_live(page, evaluation.trial.get_absolute_url())
    tail, running = page.locator("[data-tail]"), {"phase": "train", "progress": 0.5}
    expect(page.locator("[data-no-tail]")).to_be_visible()
    expect(tail).to_be_hidden()
    leases.heartbeat(evaluation.pk, evaluation.attempt, **running, tail="step 1 <img src=x onerror=alert(1)>\n")
    expect(tail).to_have_text("step 1 <img src=x onerror=alert(1)>")
    leases.heartbeat(evaluation.pk, evaluation.attempt, **running, tail="x" * 4000 + "\nstep 2\n")
    expect(tail).to_have_text(f"{'x' * 1992} step 2")
    finish(evaluation, 2.1)
    expect(page.locator(".title .badge")).to_have_text("keep")
    expect(tail).to_have_count(0)
    assert complaints.errors == []


def test_after_a_dropped_socket_the_page_equals_the_database(
    page: Page, context: BrowserContext, campaign: Campaign, complaints: Complaints
) -> None:
    waiting = submit(campaign)
    open_live(page, campaign.get_absolute_url())
    context.set_offline(True)
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "offline")
    finish(start(waiting), 2.3)
    with transaction.atomic():  # more events than one page of a catch-up
        locked = Campaign.objects.locked(campaign.pk)
        for number in range(catch_up.PAGE):
            append_event(locked, EventKind.SESSION_STARTED, "loop", {"session": number})
    for number in range(25):
        label = "crash" if number % 3 == 0 else "valid"
        score = None if label == "crash" else 2.4 - number / 1000
        run_trial(
            campaign, score, label, reason="KeyError: 'w'" if label == "crash" else "", hypothesis=IDEAS[number % 5]
        )
    evaluation = start(submit(campaign))
    assert page.locator("#trial-rows tr").count() == 2
    context.set_offline(False)
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")
    assert_page_equals_database(page, campaign)
    finish(evaluation, 2.0)
    assert_page_equals_database(page, campaign)
    assert complaints.loads == 1


def test_lost_messages_are_noticed_and_fetched(page: Page, campaign: Campaign) -> None:
    """A push that never arrives leaves a gap in the numbers; a killed connection is opened again."""
    routes: list[tuple[WebSocketRoute, WebSocketRoute]] = []
    dropped = []

    def meddle(client: WebSocketRoute) -> None:
        server = client.connect_to_server()
        routes.append((client, server))

        def pass_on(message: str | bytes) -> None:
            decoded = json.loads(message)
            if "campaign" in decoded and decoded["type"] == "event" and decoded["seq"] % 3 == 0:  # a push, no answer
                dropped.append(decoded["seq"])
            else:
                client.send(message)

        server.on_message(pass_on)

    page.route_web_socket("**/ws/**", meddle)
    open_live(page, campaign.get_absolute_url())
    for number in range(5):
        run_trial(campaign, 2.4 - number / 100)
    while campaign.last_seq % 3 == 0 or campaign.last_seq < 4:  # the last event must not be one that is dropped
        submit(campaign)
        campaign.refresh_from_db()
    assert_page_equals_database(page, campaign)
    assert len(dropped) >= 4
    routes[-1][0].close()
    run_trial(campaign, 2.2)
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")
    assert_page_equals_database(page, campaign)
    assert len(routes) >= 2


def test_older_trials_are_loaded_on_demand_and_new_ones_still_come(
    page: Page, campaign: Campaign, complaints: Complaints
) -> None:
    many = views.ROWS_PER_PAGE + 5
    for _ in range(many - 1):
        submit(campaign)
    open_live(page, campaign.get_absolute_url())
    assert page.locator("#trial-rows tr").count() == views.ROWS_PER_PAGE
    page.locator("#older a").click()
    expect(page.locator("#trial-rows tr")).to_have_count(many)
    expect(page.locator("#older a")).to_have_count(0)
    finish(start(Trial.objects.get(campaign=campaign, number=1)), 2.3)
    run_trial(campaign, 2.25)
    expect(page.locator("#trial-rows tr")).to_have_count(many + 1)
    assert_page_equals_database_of_all(page, campaign)
    assert (complaints.errors, complaints.loads) == ([], 1)


def assert_page_equals_database_of_all(page: Page, campaign: Campaign) -> None:
    wait_for_database(page, campaign)
    shown = {row["number"]: row["label"] or row["state"] for row in page.evaluate(READ_TABLE)}
    assert shown == {
        str(number): label or state
        for number, label, state in Trial.objects.of(campaign.pk).values_list("number", "label", "state")
    }


def test_a_trial_page_follows_its_trial(page: Page, campaign: Campaign, complaints: Complaints) -> None:
    trial = submit(campaign)
    open_live(page, f"{campaign.get_absolute_url()}trials/1/")
    expect(page.locator(".title .badge")).to_have_text("queued")
    evaluation = start(trial)
    expect(page.locator(".title .badge")).to_have_text("running")
    leases.heartbeat(evaluation.pk, evaluation.attempt, phase="eval", progress=0.8)
    expect(page.locator("[data-doing] .phase")).to_have_text("eval 80 %")
    page.locator('details[data-key="view"] summary').click()
    finish(evaluation, 2.3, reason="", numbers={"margin": 0.1})
    expect(page.locator(".title .badge")).to_have_text("keep")
    expect(page.locator('[data-field="score"]')).to_have_text("2.30000")
    expect(page.locator("body")).to_contain_text("✓ intact")
    expect(page.locator('details[data-key="view"]')).to_have_attribute("open", "")
    assert (complaints.errors, complaints.loads) == ([], 1)


def test_the_list_keeps_itself_fresh(page: Page, campaign: Campaign, complaints: Complaints) -> None:
    page.goto("/")
    expect(page.locator(".campaign-card")).to_have_count(1)
    run_trial(campaign, 2.0)
    make_campaign(name="A second search")
    expect(page.locator(".campaign-card")).to_have_count(2)
    expect(page.locator(".best").nth(1)).to_have_text("2.00000")
    assert (complaints.errors, complaints.loads) == ([], 1)


def test_an_ended_log_in_is_said(page: Page, context: BrowserContext, campaign: Campaign) -> None:
    open_live(page, campaign.get_absolute_url())
    context.set_offline(True)
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "offline")
    context.clear_cookies()
    context.set_offline(False)
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "refused")


def test_a_question_to_a_person_appears_and_goes_with_the_answer(page: Page, transactional_db: None) -> None:
    campaign = make_campaign(checkpoints={"keeps": True})
    run_trial(campaign, 2.4, parent=None)
    open_live(page, campaign.get_absolute_url())
    question, badge = page.locator("[data-waiting]"), page.locator('#trial-rows tr[data-number="1"] .badge')
    expect(question).to_be_hidden()
    run_trial(campaign, 2.1)
    expect(question).to_contain_text("waits for a person to approve trial 1 as the base")
    expect(badge).to_have_text("provisional")
    answers.answer(campaign.pk, Answer.APPROVED, actor="ada")
    expect(question).to_be_hidden()
    expect(badge).to_have_text("keep")
    expect(page.locator('[data-head="best_score"]')).to_have_text("2.10000")
