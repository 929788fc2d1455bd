"""axe-core on every page, light and dark; motion for those who want none; the report on paper."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from autoresearch_site.screenshots import SETTLED, pages
from tests.factories import calibrated, measure_repeats, run_trial, start, submit
from tests.specialists.studies import launched
from tests.trials.test_views import EVIL
from trials.models import Campaign
from trials.services import people, remeasures
from trials.services.reports import current_report

#: States of a page that are reached by a click: by the name of the page, what opens them.
OPENED = {
    "lineage": "document.querySelectorAll('.tree-more details').forEach((each) => { each.open = true; })",
    "trial": "document.querySelectorAll('details').forEach((each) => { each.open = true; })",
    "trials": "document.querySelector('.column-choice').open = true",
    "asked": "document.querySelector('[data-share]').click()",
}


@pytest.fixture
def rich(transactional_db: None) -> Campaign:
    """A running campaign with what a page may have to show: every state, notes, margins, something being measured."""
    campaign = calibrated()
    trial = run_trial(campaign, 1.9, hypothesis=EVIL)
    run_trial(campaign, None, "size_blocked", numbers={"bytes_over": 2056}, reason="2,056 bytes over")
    run_trial(campaign, 2.3, role="optimization")
    measure_repeats(campaign, lambda order: 1.9 if order.trial.number else 2.0, most=2)
    remeasures.order(campaign.pk, 2, 2, actor="ada", enqueue=lambda pk: None)
    start(submit(campaign, role="optimization"))
    submit(campaign)
    people.write_note(trial, "Look again.", after=0, author=User.objects.create_user("author"))
    current_report(Campaign.objects.get(pk=campaign.pk))
    return Campaign.objects.select_related("best_trial").get(pk=campaign.pk)


def serious(page: Page) -> list[Any]:
    """What axe-core finds that keeps people from using the page."""
    found = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"][:5]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_axe_finds_nothing_serious_on_any_page_in_either_theme(page: Page, rich: Campaign) -> None:
    launched()
    wanted = [*pages([rich]), ("trial-1", f"{rich.get_absolute_url()}trials/1/"), ("missing", "/campaigns/none/"),
              ("asked", f"{rich.get_absolute_url()}trials/?q=nobodysaidthis&state=finished")]  # fmt: skip
    for name, address in wanted:
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.goto(address)
        page.wait_for_function(SETTLED)
        for part, script in OPENED.items():
            if f"-{part}" in f"-{name}":
                page.evaluate(script)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            assert serious(page) == [], (name, scheme)


def test_nothing_moves_for_those_who_want_no_motion(page: Page, rich: Campaign) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto(rich.get_absolute_url())
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")
    trial = run_trial(rich, 2.4)
    row = page.locator(f'#trial-rows tr[data-number="{trial.number}"]')
    expect(row).to_have_class("fresh")
    assert row.locator("td").first.evaluate("(cell) => getComputedStyle(cell).animationName") == "none"
    moving = "() => document.getAnimations().filter((each) => each.playState === 'running').length"
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert row.locator("td").first.evaluate("(cell) => getComputedStyle(cell).animationName") == "fresh"


def test_a_report_on_paper_is_the_report_alone(page: Page, rich: Campaign) -> None:
    page.goto(f"{rich.get_absolute_url()}report/")
    title = page.get_by_role("heading", level=1)
    for scheme in ("light", "dark"):
        page.emulate_media(media="print", color_scheme=scheme)  # type: ignore[arg-type]
        expect(title).to_be_visible()
        for gone in (".topbar", ".tabs", ".crumbs a", "form"):
            assert page.locator(gone).locator("visible=true").count() == 0, gone
        ink = "(element) => { const style = getComputedStyle(element); return [style.color, style.backgroundColor]; }"
        assert page.locator(".panel").first.evaluate(ink) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.emulate_media(media="screen")
    expect(page.locator(".topbar")).to_be_visible()
