"""The explorer in a browser: forms without reloads, addresses that say everything, the keyboard, narrow screens."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints
from tests.browser.test_pages import EVIL, assert_inert
from tests.factories import run_trial
from tests.trials.explorer.conftest import made_up
from trials.models import Campaign, Trial


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
    page.get_by_label("Words of the hypothesis").fill("momentum")
    expect(page.locator(".chips")).to_contain_text("momentum")
    found = page.url
    assert "q=momentum" in found and "role=optimization" in found and "sort=best" in found
    page.get_by_label("Without words momentum").click()
    expect(page.locator(".chips")).not_to_contain_text("momentum")
    page.go_back()
    expect(page.get_by_label("Words of the hypothesis")).to_have_value("momentum")
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
    for name in ("trials/", "frontier/", "failures/", "throughput/", "roles/", "compare/"):
        page.goto(filled.get_absolute_url() + name)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_the_keyboard_goes_from_the_tabs_to_a_trial(page: Page, filled: Campaign) -> None:
    page.goto(filled.get_absolute_url())
    page.get_by_role("navigation", name="Campaign").get_by_role("link", name="Trials").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Trials")
    page.get_by_label("Words of the hypothesis").focus()
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
