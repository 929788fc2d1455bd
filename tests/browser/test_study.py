"""The page of a study in a browser: it follows its campaigns by itself, fits every width, and stays inert."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from specialists.studies import reports, services
from tests.browser.conftest import Complaints
from tests.factories import finish, start, submit
from tests.specialists.studies import launched, newest, search
from trials.models import Trial
from trials.services import campaigns
from trials.vocab import CampaignState

EVIL = "<img src=x onerror='window.hacked=1'>"
MEDIANS = """() => document.querySelector('[data-chart=by-trial] .plot').data
  ?.filter((trace) => trace.customdata).map((trace) => trace.y.join())"""


def test_a_study_is_followed_live_and_ends_with_its_comparison(page: Page, complaints: Complaints) -> None:
    study = launched(name=EVIL, repeats=1, trials=2)
    page.goto("/studies/")
    expect(page.locator(".study-card h2")).to_contain_text("<img src=x")
    page.get_by_role("link", name="<img src=x").click()
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")
    gain = page.locator('[data-arm="swarm"] [data-gain]')
    expect(gain).to_have_text("\u2013")
    first = newest(study)[0]
    finish(start(Trial.objects.get(campaign=first, number=0)), 2.0)
    expect(gain).to_have_text("+0.00 (+0.00 to +0.00)")
    finish(start(submit(first, role="loss")), 1.5)
    expect(gain).to_have_text("+25.00 (+25.00 to +25.00)")
    page.wait_for_function(f"() => ({MEDIANS})()?.[0] === '0,25'")
    campaigns.change_state(first.pk, CampaignState.FINISHED, actor="test", reason="done")
    services.advance(study.pk)  # the second arm begins: the page listens to its campaign from now on
    expect(page.locator('[data-arm="random"] a[data-state]')).to_have_count(1)
    search(newest(study)[1], [2.0, 1.9], end=False)
    expect(page.locator('[data-arm="random"] [data-gain]')).to_have_text("+5.00 (+5.00 to +5.00)")
    campaigns.change_state(newest(study)[1].pk, CampaignState.FINISHED, actor="test", reason="done")
    services.advance(study.pk)
    expect(page.locator("#study .badge")).to_have_text("finished")
    reports.compute(study.pk)
    expect(page.locator(".tests")).to_contain_text("too few repeats")
    expect(page.get_by_role("button", name="Compute")).to_have_count(0)
    assert complaints.loads == 2
    colour = "() => document.querySelector('[data-chart=by-trial] .plot').data?.[2].line.color"
    before = page.evaluate(colour)
    page.locator("[data-theme-button]").click()
    page.wait_for_function(f"(before) => ({colour})() !== before", arg=before)
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width)  # plots follow
    assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0
    assert complaints.errors == []
