"""The report page with a real worker behind it, in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints
from tests.trials.traces.runs import DATA
from trials.services import traces
from trials.traces.folder import read_trace
from trials.traces.layouts import layout_of


def test_a_report_is_computed_on_demand_and_fits_every_width(page: Page, workers: Path, complaints: Complaints) -> None:
    campaign = traces.import_trace(read_trace(DATA / "pg_lineage_on", layout_of("parameter_golf")), "Released")
    page.goto(campaign.get_absolute_url())
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")
    page.wait_for_function("() => document.querySelector('[data-chart=frontier] .plot').data?.length >= 3")
    page.get_by_role("link", name="report").click()
    expect(page.locator(".report-page .empty")).to_be_visible()
    page.get_by_role("button", name="Compute the report").click()
    expect(page.locator(".figures")).to_contain_text("18.15")
    expect(page.locator(".figures")).to_contain_text("120.9")
    expect(page.get_by_role("button", name="Compute")).to_have_count(0)
    assert complaints.loads == 2  # the campaign, the report: the figures came without another load
    for width in (1440, 420):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
    page.emulate_media(media="print")
    expect(page.locator(".topbar")).to_be_hidden()
    expect(page.locator(".curve")).to_be_visible()
    assert complaints.errors == []
