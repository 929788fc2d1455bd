"""The page of workers and queues in a browser: it follows what runs by itself, and fits a phone."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints
from tests.factories import finish, make_campaign, run_trial, start, submit
from trials.services import campaigns, workers
from trials.vocab import CampaignState

EVIL = "<img src=x onerror='window.hacked=1'>"


def test_workers_and_queues_are_followed_live(page: Page, complaints: Complaints) -> None:
    campaign = make_campaign(name=EVIL)
    run_trial(campaign, 2.4, parent=None)
    trial = submit(campaign)
    page.goto("/workers/")
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")
    expect(page.locator('.waits [data-kind="no_worker"]')).to_contain_text("no evaluator is running")
    queue = page.locator('[data-queue="evaluators.cpu"] td')
    expect(queue.nth(1)).to_have_text("1")
    expect(queue.nth(4)).to_have_text("nobody")
    workers.announce(workers.Capability(EVIL, "cpu", "toy", 1, 1 << 34, "L3"))
    order = start(trial, EVIL)
    held = page.locator('tr[data-state="busy"]')
    expect(held).to_contain_text("trial 1")
    expect(held).to_contain_text("L3")
    expect(page.locator('.waits [data-kind="no_worker"]')).to_have_count(0)
    finish(order, 2.1)
    expect(page.locator('tr[data-state="free"]')).to_have_count(1)
    campaigns.change_state(campaign.pk, CampaignState.PAUSED, actor="anna", reason="paused by anna")
    expect(page.locator('.waits [data-kind="paused"]')).to_contain_text("resume it")
    later = make_campaign(name="Launched later")  # the page learns of it by itself
    submit(later, parent=None)
    expect(page.locator('.waits [data-kind="queue"]')).to_contain_text("Launched later")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width)
    assert complaints.loads == 1 and complaints.errors == []
    assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0
