"""The explorer in a browser: forms without reloads, addresses that say everything, the keyboard, narrow screens."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints
from tests.browser.test_pages import EVIL, assert_inert
from tests.factories import finish, run_trial, start, submit
from tests.trials.explorer.conftest import made_up
from trials.models import Campaign, Trial
from trials.services import leases


@pytest.fixture
def filled(transactional_db: None) -> Campaign:
    campaign = made_up(120)
    run_trial(campaign, None, "crash", hypothesis=EVIL, reason=EVIL, role="optimization")
    return campaign


def test_the_table_is_filtered_sorted_and_paged_without_a_reload(
    page: Page, filled: Campaign, complaints: Complaints
) -> None:
    base = f"{filled.get_absolute_url()}trials/"
    page.goto(base)
    row = page.locator("#trial-table tbody tr")
    expect(row).to_have_count(50)
    page.get_by_role("combobox", name="Role").select_option("optimization")
    expect(page).to_have_url(f"{page.url.partition('/campaigns')[0]}{base}?role=optimization")
    mine = Trial.objects.of(filled.pk).filter(role="optimization")
    expect(row.first).to_have_attribute("data-number", str(mine.order_by("-number")[0].number))
    page.get_by_role("combobox", name="Order").select_option("best")
    expect(page.locator('th[aria-sort="descending"]')).to_contain_text("Score")
    page.get_by_label("Words of hypothesis or note").fill("momentum")
    expect(page.locator(".chips")).to_contain_text("momentum")
    found = page.url
    assert "q=momentum" in found and "role=optimization" in found and "sort=best" in found
    page.get_by_label("Without words momentum").click()
    expect(page.locator(".chips")).not_to_contain_text("momentum")
    page.go_back()
    expect(page.get_by_label("Words of hypothesis or note")).to_have_value("momentum")
    page.goto(found)
    expect(page.get_by_role("combobox", name="Role")).to_have_value("optimization")
    page.get_by_text("Columns and more").click()
    page.get_by_role("checkbox", name="Parent", exact=True).uncheck()
    expect(page.locator("thead")).not_to_contain_text("Parent")
    page.goto(base)
    page.get_by_role("link", name="Next 50").click()
    expect(row.first).to_have_attribute("data-number", str(filled.last_number + 1 - 50))
    assert complaints.errors == []


def test_strangers_text_is_inert_in_the_explorer(page: Page, filled: Campaign, complaints: Complaints) -> None:
    page.goto(f"{filled.get_absolute_url()}trials/?standing=crash")
    expect(page.locator("#trial-table tbody tr").first).to_contain_text("<script>window.hacked=2</script>")
    assert_inert(page, complaints)


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_of_the_explorer_scrolls_sideways(page: Page, filled: Campaign, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    for name in (
        "trials/",
        "lineage/",
        "frontier/",
        "failures/",
        "throughput/",
        "roles/",
        "compare/",
        "../../webhooks/",
    ):
        page.goto(filled.get_absolute_url() + name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_the_keyboard_goes_from_the_tabs_to_a_trial(page: Page, filled: Campaign) -> None:
    page.goto(filled.get_absolute_url())
    page.get_by_role("navigation", name="Campaign").get_by_role("link", name="Trials").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Trials")
    page.get_by_label("Words of hypothesis or note").focus()
    page.keyboard.type("momentum")
    page.keyboard.press("Enter")
    expect(page.locator(".chips")).to_contain_text("momentum")
    first = page.locator("#trial-table tbody tr a").first
    number = first.text_content()
    first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(f"Trial {number}")


def test_a_point_of_the_frontier_tells_its_idea_and_leads_to_its_trial(
    page: Page, filled: Campaign, complaints: Complaints
) -> None:
    page.goto(f"{filled.get_absolute_url()}frontier/")
    page.wait_for_function("() => document.querySelector('[data-chart=frontier] .plot').data?.length >= 3")
    number = page.evaluate("""() => {
      const plot = document.querySelector('[data-chart=frontier] .plot');
      const curve = plot.data.findIndex((trace) => trace.name === 'keep');
      Plotly.Fx.hover(plot, [{ curveNumber: curve, pointNumber: 0 }]);
      return plot.data[curve].customdata[0][0];
    }""")
    trial = Trial.objects.of(filled.pk).get(number=number)
    hover = page.locator('[data-chart="frontier"] .hoverlayer')
    expect(hover).to_contain_text(f"trial {number}")
    expect(hover).to_contain_text(trial.hypothesis[:20])
    page.evaluate("""() => {
      const plot = document.querySelector('[data-chart=frontier] .plot');
      plot.emit('plotly_click', { points: [{ customdata: plot._hoverdata[0].customdata }] });
    }""")
    expect(page.locator("h1")).to_have_text(f"Trial {number}")
    assert complaints.errors == []


def test_what_failed_closest_and_who_wastes_are_three_clicks_away(
    page: Page, filled: Campaign, complaints: Complaints
) -> None:
    page.goto("/")
    page.get_by_role("link", name=filled.name).click()
    tabs = page.get_by_role("navigation", name="Campaign")
    tabs.get_by_role("link", name="Failures").click()
    page.get_by_role("region", name="Closest to a limit").get_by_role("link").first.click()
    expect(page.locator("#edit-title")).to_be_in_viewport()
    assert page.locator(".diff-line ins").count() > 0
    tabs.get_by_role("link", name="Roles").click()
    row = page.locator(".roles-table tbody tr").first
    expect(row).to_contain_text("%")
    row.locator(".badge").click()
    expect(page.locator(".chips")).to_contain_text("architecture")
    page.goto(f"{filled.get_absolute_url()}failures/?role=optimization")
    page.wait_for_function("() => document.querySelector('[data-chart=outcomes] .plot').data?.length >= 2")
    page.goto(f"{filled.get_absolute_url()}throughput/")
    page.wait_for_function("() => document.querySelector('[data-chart=throughput] .plot').data?.length >= 5")
    assert complaints.errors == []


def test_best_and_start_are_compared_two_clicks_from_the_list(
    page: Page, filled: Campaign, complaints: Complaints
) -> None:
    page.goto("/")
    page.get_by_role("link", name=filled.name).click()
    page.get_by_role("navigation", name="Campaign").get_by_role("link", name="Compare").click()
    heads = page.locator(".compare thead a")
    assert filled.best_trial is not None
    expect(heads).to_have_text(["trial 0", f"trial {filled.best_trial.number}"])
    assert page.locator(".diff-line ins").count() > 0
    page.get_by_label("Numbers of two").fill("0, 3, 120")
    page.get_by_label("only what differs").check()
    page.get_by_role("button", name="Compare").click()
    expect(heads).to_have_count(3)
    expect(page.locator(".compare")).to_contain_text("<script>window.hacked=2</script>")
    expect(page.locator(".compare tr.differs").first).to_be_visible()
    assert_inert(page, complaints)


def test_the_tree_of_trials_is_opened_with_the_keyboard(page: Page, filled: Campaign, complaints: Complaints) -> None:
    page.goto(f"{filled.get_absolute_url()}lineage/")
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")
    step = page.locator(".line > .tree-node").nth(1)
    step.get_by_text("Edit", exact=True).focus()
    page.keyboard.press("Enter")
    expect(step.locator(".diff-line ins").first).to_be_visible()
    step.get_by_text("built on it").focus()
    page.keyboard.press("Enter")
    child = step.locator(".tree > .tree-node").first
    expect(child).to_be_visible()
    number = child.get_attribute("data-number")
    child.get_by_text("Edit", exact=True).focus()
    page.keyboard.press("Enter")
    expect(child.locator(".diff-line ins").first).to_be_visible()
    run_trial(filled, 3.0)
    expect(page.locator("[data-news]")).to_contain_text("One trial was recorded since.")
    child.get_by_role("link", name="line to it").press("Enter")
    expect(page.locator("#tree-title")).to_have_text(f"From the start to trial {number}")
    assert complaints.errors == []


CELLS = """() => Array.from(document.querySelectorAll('#trial-table tbody tr'), (row) =>
  Array.from(row.querySelectorAll('td:not(.c-age)'), (cell) => cell.textContent.trim()).join('|'))"""


def open_table(page: Page, campaign: Campaign, query: str = "") -> None:
    page.goto(f"{campaign.get_absolute_url()}trials/{query}")
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")


def assert_table_is_fresh(page: Page) -> None:
    """What the page shows is what it would show if it were opened now."""
    other = page.context.new_page()
    other.goto(page.url)
    wanted = other.evaluate(CELLS)
    other.close()
    page.wait_for_function(
        f"(wanted) => JSON.stringify(({CELLS})()) === wanted",
        arg=json.dumps(wanted, separators=(",", ":"), ensure_ascii=False),
    )


def test_rows_come_and_change_by_themselves(page: Page, filled: Campaign, complaints: Complaints) -> None:
    open_table(page, filled)
    trial = submit(filled, hypothesis=EVIL)
    row = page.locator(f'#trial-table tr[data-number="{trial.number}"]')
    expect(row.locator(".badge")).to_have_text("queued")
    order = start(trial)
    expect(row.locator(".badge")).to_have_text("running")
    leases.heartbeat(order.pk, order.attempt, phase="train", progress=0.42)
    expect(row.locator(".doing")).to_have_text("train 42 %")
    row.get_by_role("link", name=str(trial.number), exact=True).focus()
    finish(order, 2.4)
    expect(row.locator(".badge")).not_to_have_text("running")
    expect(row.get_by_role("link", name=str(trial.number), exact=True)).to_be_focused()
    assert_table_is_fresh(page)
    assert_inert(page, complaints)
    assert complaints.loads == 1


def test_nothing_of_a_burst_is_lost(page: Page, filled: Campaign, complaints: Complaints) -> None:
    open_table(page, filled)
    for number in range(70):
        run_trial(filled, 2.4 + number / 1000, role=("architecture", "optimization")[number % 2])
    assert_table_is_fresh(page)
    newest = Trial.objects.of(filled.pk).order_by("-number")
    page.get_by_role("link", name="Next 50").click()
    expect(page.locator("#trial-table tbody tr").first).to_have_attribute("data-number", str(newest[50].number))
    run_trial(filled, 2.6)
    expect(page.locator("[data-news]")).to_contain_text("1 new or changed")
    expect(page.locator("#trial-table tbody tr").first).to_have_attribute("data-number", str(newest[51].number))
    page.get_by_role("link", name="Show from the first").click()
    expect(page.locator("#trial-table tbody tr").first).to_have_attribute("data-number", str(newest[0].number))
    expect(page.locator("[data-news]")).to_be_hidden()
    assert complaints.errors == []


def test_rows_follow_the_filters_and_wait_for_a_reader_who_scrolls(
    page: Page, filled: Campaign, complaints: Complaints
) -> None:
    trial = submit(filled)
    order = start(trial)
    open_table(page, filled, "?state=running")
    rows = page.locator("#trial-table tbody tr")
    expect(rows).to_have_count(1)
    run_trial(filled, 2.5)
    finish(order, 2.5)
    expect(rows).to_have_count(0)
    page.set_viewport_size({"width": 1440, "height": 500})
    open_table(page, filled)
    page.locator(".trials-scroll").evaluate("element => element.scrollTo(0, 300)")
    top = rows.first.get_attribute("data-number")
    run_trial(filled, 2.5)
    expect(page.locator("[data-news]")).to_contain_text("1 new or changed")
    assert rows.first.get_attribute("data-number") == top
    assert complaints.errors == []
