"""Pages in a browser: hostile text, themes, narrow screens, the keyboard; and the pure parts of the scripts."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Complaints
from tests.factories import finish, make_campaign, run_trial, start, submit
from trials import formatting
from trials.models import Campaign

EVIL = (
    "\u202e<img src=x onerror='window.hacked=1'><script>window.hacked=2</script><b>bold</b>"
    "<a href='javascript:window.hacked=3'>link</a> %{y} &lt;i&gt; {{ 7|add:7 }}"
)


@pytest.fixture
def hostile(transactional_db: None) -> Campaign:
    campaign = make_campaign(name=EVIL[:60] + "x" * 60)
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.3, hypothesis=EVIL, role=EVIL[:20] + "y" * 40, reason=EVIL, log=EVIL.encode(), excerpt=EVIL,
              lineage_view=EVIL, proposal={"transforms": [EVIL], "evidence": [EVIL], "notes": {EVIL: EVIL}},
              files={"a.py": EVIL.encode(), "b.py": b"", "recipe.py": b""})  # fmt: skip
    return campaign


def assert_inert(page: Page, complaints: Complaints) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script:not([type='application/json'])").count() == 0
    assert page.locator("main b:has-text('bold'), main a[href^='javascript']").count() == 0
    assert complaints.errors == []


def test_hostile_text_stays_inert_on_every_page_and_in_plots(
    page: Page, hostile: Campaign, complaints: Complaints
) -> None:
    page.goto("/")
    expect(page.locator(".campaign-card h2")).to_contain_text("<img src=x")
    assert_inert(page, complaints)
    page.goto(hostile.get_absolute_url())
    expect(page.locator("[data-connection]")).to_have_attribute("data-status", "live")
    evaluation = start(submit(hostile, hypothesis=EVIL, role=EVIL[:50]))
    finish(evaluation, None, "crash", reason=EVIL, excerpt=EVIL)
    expect(page.locator('tr[data-number="2"] .reason')).to_contain_text("<img src=x")
    expect(page.locator('tr[data-number="2"] .hypothesis')).to_contain_text("[U+202E]")
    page.wait_for_function("() => document.querySelector('[data-chart=frontier] .plot').data?.length >= 3")
    page.evaluate("""() => {
      const plot = document.querySelector('[data-chart=frontier] .plot');
      const curve = plot.data.findIndex((trace) => trace.name === 'keep');
      Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: 0}]);
    }""")
    hover = page.locator('[data-chart="frontier"] .hoverlayer')
    expect(hover).to_contain_text("<b>bold</b>")
    assert hover.locator("a").count() == 0
    page.locator('[data-chart="roles"]').scroll_into_view_if_needed()
    expect(page.locator('[data-chart="roles"] .ytick').last).to_contain_text("<img src=x")
    assert_inert(page, complaints)
    page.goto(hostile.get_absolute_url() + "trials/1/")
    expect(page.locator(".hypothesis-text")).to_contain_text("<script>window.hacked=2</script>")
    assert_inert(page, complaints)


def test_the_theme_is_switched_stored_and_reaches_the_charts(page: Page, hostile: Campaign) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(hostile.get_absolute_url())
    colour = "() => document.querySelector('[data-chart=frontier] .plot').data?.[0].line.color"
    page.wait_for_function(colour)
    before = page.evaluate(colour)
    page.locator("[data-theme-button]").click()
    page.wait_for_function(f"(before) => ({colour})() !== before", arg=before)
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_first_plots_wait_for_no_clock(page: Page, hostile: Campaign) -> None:
    page.clock.install()
    page.clock.pause_at("2100-01-01")  # no timer of the page ends from here on
    page.goto(hostile.get_absolute_url())
    for name in ("frontier", "labels"):
        expect(page.locator(f'[data-chart="{name}"] .js-plotly-plot .main-svg').first).to_be_attached()


EXACTLY = """(element) => new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" })
  .format(new Date(element.dateTime))"""


def test_an_age_has_its_exact_time_in_the_zone_of_the_reader(page: Page, hostile: Campaign) -> None:
    page.goto(hostile.get_absolute_url())
    age = page.locator("#trial-rows time").first
    expect(age).to_have_attribute("title", age.evaluate(EXACTLY))


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_no_page_scrolls_sideways(page: Page, hostile: Campaign, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    base = hostile.get_absolute_url()
    for address in ("/", base, f"{base}trials/1/", "/campaigns/none/"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def test_log_in_and_out(chromium: Browser, page: Page, site_url: str, hostile: Campaign) -> None:
    stranger = chromium.new_context(base_url=site_url).new_page()
    stranger.goto(hostile.get_absolute_url())
    stranger.get_by_label("Username").fill("viewer")
    stranger.get_by_label("Password").fill("wrong")
    stranger.get_by_role("button", name="Log in").click()
    expect(stranger.locator(".errorlist")).to_be_visible()
    stranger.get_by_label("Password").fill("a long password")
    stranger.get_by_role("button", name="Log in").click()
    expect(stranger).to_have_url(site_url + hostile.get_absolute_url())
    stranger.get_by_role("button", name="Log out").click()
    expect(stranger.locator("h1")).to_have_text("Log in")
    stranger.context.close()


def test_the_keyboard_reaches_the_trials(page: Page, hostile: Campaign) -> None:
    page.goto(hostile.get_absolute_url())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.locator('#trial-rows tr[data-number="1"] a').first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Trial 1")


REDUCE = """async (messages) => {
  const { initial, reduce, openCounts } = await import("/static/js/reduce.js");
  const first = { head: { seq: 5, trials: 1 }, open: { 3: "running" } };
  let state = initial(first);
  const asked = [], changed = [];
  const frozen = JSON.stringify(state);
  const again = state;
  for (const message of messages) {
    const result = reduce(state, message);
    state = result.state;
    asked.push(result.ask);
    changed.push(result.changed);
  }
  return { seq: state.seq, head: state.head, rows: state.rows, progress: state.progress, counts: openCounts(state),
           asked, changed, pure: JSON.stringify(again) === frozen };
}"""


def event(seq: int, number: int | None = None, state: str = "running") -> dict[str, Any]:
    row = None if number is None else {"number": number, "state": state, "label": ""}
    return {"type": "event", "seq": seq, "trial": row, "campaign": {"seq": seq, "trials": seq}}


def head(seq: int) -> dict[str, Any]:
    return {"type": "head", "campaign": {"seq": seq, "trials": seq}}


@pytest.fixture
def reduced(page: Page, site_url: str) -> Any:
    page.goto("/login/")
    return lambda *messages: page.evaluate(REDUCE, list(messages))


def test_reduce_applies_the_next_event_and_drops_old_ones(reduced: Any) -> None:
    found = reduced(event(6, 4, "queued"), event(6, 4, "finished"), event(2, 4, "finished"), event(7, 4, "running"))
    assert (found["seq"], found["rows"]["4"]["state"], found["head"]) == (7, "running", {"seq": 7, "trials": 7})
    assert found["counts"] == {"queued": 0, "running": 2}
    assert found["changed"] == [[4], [], [], [4]]
    assert found["asked"] == [None] * 4
    assert found["pure"]


def test_reduce_asks_once_for_a_gap_and_goes_on_after_the_answer(reduced: Any) -> None:
    found = reduced(event(8, 4), event(9, 5), event(6, 4), event(7, 4), event(8, 4), event(9, 5), head(9), event(10, 6))
    assert found["asked"] == [5, None, None, None, None, None, None, None]
    assert (found["seq"], sorted(found["rows"])) == (10, ["4", "5", "6"])


def test_reduce_asks_again_while_the_head_is_ahead(reduced: Any) -> None:
    found = reduced({"type": "opened"}, event(6), head(9), event(7), event(8), event(9), head(9))
    assert found["asked"] == [5, None, 6, None, None, None, None]
    assert found["seq"] == 9


def test_reduce_answers_a_gap_message_and_survives_a_reconnect(reduced: Any) -> None:
    assert reduced({"type": "gap"}, {"type": "gap"}, {"type": "opened"})["asked"] == [5, None, 5]


def test_reduce_keeps_progress_of_open_trials_only(reduced: Any) -> None:
    step = {"type": "progress", "trial": 3, "phase": "train", "progress": 0.5}
    found = reduced(step, event(6, 3, "finished"), step, {"type": "strange"})
    assert found["progress"] == {}
    assert found["changed"] == [[3], [3], [], []]
    assert found["counts"] == {"queued": 0, "running": 0}
    assert found["seq"] == 6


def test_reduce_keeps_the_end_of_a_log_until_there_is_another(reduced: Any) -> None:
    step = {"type": "progress", "trial": 4, "phase": "train", "progress": 0.5}
    found = reduced(step, step | {"tail": "step 1"}, step | {"progress": 0.6})
    assert found["progress"] == {"4": {"phase": "train", "fraction": 0.6, "tail": "step 1"}}


def test_reduce_never_takes_an_older_head(reduced: Any) -> None:
    assert reduced(event(6), head(5))["head"] == {"seq": 6, "trials": 6}


VALUES = [
    0,
    0.25,
    0.125,
    1 / 64,
    2.276754999,
    99.999999,
    100,
    1234.5,
    1e-7,
    272000,
    12345678.9,
    59.94,
    60,
    3599,
    187200,
]


def test_live_cells_are_written_as_a_fresh_page_writes_them(page: Page) -> None:
    page.goto("/login/")
    names = ["score", "delta", "percent", "seconds", "whole", "duration"]
    values = [None, *VALUES, *(-value for value in VALUES if value)]
    script = """async ([names, values]) => {
      const format = await import("/static/js/format.js");
      return names.map((name) => values.map((value) => format[name](value)));
    }"""
    usable = {"duration": lambda value: value is None or value >= 0}
    for name, shown in zip(names, page.evaluate(script, [names, values]), strict=True):
        for value, text in zip(values, shown, strict=True):
            if usable.get(name, lambda _: True)(value):
                assert text == getattr(formatting, name)(value), (name, value)
    texts = ["", "a  b\n c", "x" * 500, "\u202ea_b", "🙂" * 200, " padded " + "word " * 200]
    for name in ("short", "visible", "words"):
        shown = page.evaluate(script, [[name], texts])[0]
        assert shown == [getattr(formatting, name)(text) for text in texts]


def test_a_link_holds_what_the_page_shows(chromium: Browser, page: Page, site_url: str, hostile: Campaign) -> None:
    """Copied where the browser lets, else shown to be copied; it opens the same rows, for a stranger the log-in."""
    page.goto(f"{hostile.get_absolute_url()}trials/?sort=oldest")
    page.locator("#f-state").select_option("finished")
    page.wait_for_url("**state=finished**")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (t) => { window.got = t } } })"
    )
    page.get_by_role("button", name="Copy a link").click()
    expect(page.locator("[data-share-told]")).to_contain_text("The link is copied")
    link = page.evaluate("window.got")
    assert link == page.url and "sort=oldest" in link and "state=finished" in link
    page.keyboard.press("Escape")
    expect(page.locator("[data-shared]")).to_be_hidden()
    page.evaluate("navigator.clipboard.writeText = undefined")
    page.get_by_role("button", name="Copy a link").click()
    expect(page.locator("[data-share-told]")).to_contain_text("Copy this address")
    expect(page.get_by_label("Address")).to_have_value(link)
    shown = page.locator("tr[data-number]").evaluate_all("(rows) => rows.map((row) => row.dataset.number)")
    page.locator("h1").click()
    expect(page.locator("[data-shared]")).to_be_hidden()
    page.goto(link)
    assert page.locator("tr[data-number]").evaluate_all("(rows) => rows.map((row) => row.dataset.number)") == shown
    stranger = chromium.new_context(base_url=site_url).new_page()
    stranger.goto(link)
    expect(stranger.get_by_label("Username")).to_be_visible()
    stranger.context.close()
