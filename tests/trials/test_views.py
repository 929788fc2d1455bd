from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from tests.factories import finish, make_campaign, run_trial, start, submit
from trials import views
from trials.models import Campaign, Event
from trials.services import campaigns, leases
from trials.vocab import CampaignState

pytestmark = pytest.mark.django_db
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(User.objects.create_user("viewer"))
    return client


@pytest.fixture
def campaign() -> Campaign:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    return campaign


def page(browser: Client, address: str, **headers: str) -> str:
    answer = browser.get(address, headers=headers)
    assert answer.status_code == 200, address
    return answer.content.decode()


def row_numbers(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'<tr data-number="(\d+)"', html)]


def test_an_empty_list_says_how_to_launch(browser: Client) -> None:
    html = page(browser, "/")
    assert "manage.py launch parameter_golf" in html
    assert "/admin/" not in html


def test_staff_are_led_to_the_launch_form(client: Client) -> None:
    client.force_login(User.objects.create_superuser("boss"))
    assert 'href="/launch/"' in page(client, "/")


def test_the_list_shows_state_progress_best_and_sparkline(browser: Client, campaign: Campaign) -> None:
    run_trial(campaign, 2.1)
    html = page(browser, "/")
    assert "2.10000" in html
    assert "start 2.40000" in html
    assert "\u221212.50 %" in html
    assert "<polyline points=" in html
    assert html.count("campaign-card") == 1
    assert "data-time-left>23 h 59 min of 24 h left" in html
    assert "<html" not in page(browser, "/", HX_Request="true")


def test_the_list_is_paged_by_key(browser: Client) -> None:
    for number in range(42):
        make_campaign(name=f"Search {number}")
    first = page(browser, "/")
    older = re.search(r'href="\?before=(\d+)"', first)
    assert older is not None
    second = page(browser, f"/?before={older[1]}")
    slugs = re.findall(r'data-slug="([^"]+)"', first + second)
    assert slugs == [f"search-{number}" for number in reversed(range(42))]


def test_the_table_goes_on_below_a_number(browser: Client, campaign: Campaign) -> None:
    many = views.ROWS_PER_PAGE + 5
    for _ in range(many):
        submit(campaign)
    html = page(browser, campaign.get_absolute_url())
    blank = 'data-number=""'
    assert html.count(blank) == 1
    assert row_numbers(html) == list(range(many, 5, -1))
    fragment = page(browser, f"{campaign.get_absolute_url()}?before=6", HX_Request="true")
    assert row_numbers(fragment) == [5, 4, 3, 2, 1, 0]
    assert 'hx-swap-oob="true"' in fragment
    assert "Load older" not in fragment


def test_a_cell_carries_the_raw_value(browser: Client, campaign: Campaign) -> None:
    run_trial(campaign, 2.123456789, hypothesis=f'Say "less" {EVIL}')
    html = page(browser, campaign.get_absolute_url())
    assert 'data-field="score" data-value="2.123456789">2.12346<' in html
    assert 'data-field="delta_vs_parent" data-value="-0.2765' in html
    assert 'data-field="label" data-value="keep" data-name="keep">keep<' in html
    assert "Say &quot;less&quot; &lt;img" in html


def test_running_trials_show_phase_and_progress(browser: Client, campaign: Campaign) -> None:
    evaluation = start(submit(campaign))
    leases.heartbeat(evaluation.pk, evaluation.attempt, phase="train", progress=0.42)
    assert 'value="0.42"' in page(browser, campaign.get_absolute_url())
    html = page(browser, campaign.get_absolute_url() + "trials/1/")
    assert "train 42 %" in html
    assert "data-doing" in html


@pytest.mark.parametrize("name", ["frontier", "labels", "roles", "throughput"])
def test_charts_are_json_and_have_an_etag(browser: Client, campaign: Campaign, name: str) -> None:
    run_trial(campaign, None, "crash", reason="ValueError: no")
    address = f"{campaign.get_absolute_url()}charts/{name}.json"
    answer = browser.get(address)
    chart = json.loads(answer.content)
    assert chart["figure"]["data"]
    assert chart["table"]["rows"]
    again = browser.get(address, headers={"If-None-Match": answer["ETag"]})
    assert again.status_code == 304
    run_trial(campaign, 2.2)
    assert browser.get(address, headers={"If-None-Match": answer["ETag"]}).status_code == 200


def test_charts_of_an_empty_campaign_answer(browser: Client) -> None:
    base = make_campaign().get_absolute_url()
    for name in ("frontier", "labels", "roles", "throughput"):
        assert browser.get(f"{base}charts/{name}.json").status_code == 200


@pytest.mark.parametrize(
    "address", ["/campaigns/none/", "trials/99/", "charts/nothing.json", "?before=x", "trials/0/log.txt/"]
)
def test_unknown_addresses_are_404_pages(browser: Client, campaign: Campaign, address: str) -> None:
    answer = browser.get(address if address.startswith("/") else campaign.get_absolute_url() + address)
    assert answer.status_code == 404
    assert "Not found" in answer.content.decode()


def test_pages_only_answer_to_reading(browser: Client, campaign: Campaign) -> None:
    assert browser.post(campaign.get_absolute_url()).status_code == 405


def test_the_head_has_counters_and_sealed_scores(browser: Client, campaign: Campaign) -> None:
    run_trial(campaign, 2.2)
    head = json.loads(page(browser, campaign.get_absolute_url() + "head.json"))
    assert (head["trials"], head["keeps"], head["start_score"], head["best_score"]) == (1, 1, 2.4, 2.2)
    assert head["seq"] == Campaign.objects.get(pk=campaign.pk).last_seq
    assert (head["sealed_best"], head["finished_at"]) == (None, None)
    campaigns.change_state(campaign.pk, CampaignState.STOPPED, actor="test", reason="enough")
    assert json.loads(page(browser, campaign.get_absolute_url() + "head.json"))["finished_at"] is not None


def test_a_trial_page_shows_the_whole_record(browser: Client, campaign: Campaign) -> None:
    proposal = {"transforms": ["architecture.widen"], "evidence": [0], "notes": {"prior": "helped before"}}
    trial = run_trial(
        campaign,
        None,
        "size_blocked",
        reason="2,056 bytes over",
        numbers={"bytes_over": 2056},
        hypothesis="Widen the model.",
        proposal=proposal,
        log=b"step 1\nstep 2\n",
    )
    html = page(browser, campaign.get_absolute_url() + "trials/1/")
    for text in ("2,056 bytes over", "bytes over", "architecture.widen", "helped before", "step 2", "Widen the model.",
                 "best: trial 0", "bwrap", "256,500"):  # fmt: skip
        assert text in html, text
    assert html.count("✓ intact") == Event.objects.filter(trial=trial).count() == 3
    assert "<del>0</del>" in html
    assert "<ins>1</ins>" in html


def test_isolation_below_l3_is_loud(browser: Client, campaign: Campaign) -> None:
    lower = {
        "level": "L2",
        "wanted": "L3",
        "why_lower": "no user namespaces here",
        "backend": "landlock",
        "details": {},
    }
    finish(start(submit(campaign)), 2.3, isolation=lower)
    run_trial(campaign, 2.35)
    base = campaign.get_absolute_url()
    assert "Weaker than L3" in page(browser, f"{base}trials/1/")
    assert "no user namespaces here" in page(browser, f"{base}trials/1/")
    assert "Weaker than L3" not in page(browser, f"{base}trials/2/")


def test_a_broken_hash_is_shown(browser: Client, campaign: Campaign) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(
            "ALTER TABLE trials_event DISABLE TRIGGER trials_event_append_only"
        )  # what somebody who owns the tables could do
        cursor.execute("UPDATE trials_event SET actor = 'somebody else' WHERE kind = 'trial_finished'")
        cursor.execute("ALTER TABLE trials_event ENABLE ALWAYS TRIGGER trials_event_append_only")
    assert "✕ altered" in page(browser, campaign.get_absolute_url() + "trials/0/")


def test_hostile_text_is_escaped_everywhere(browser: Client) -> None:
    campaign = make_campaign(name=EVIL)
    run_trial(campaign, 2.4, parent=None)
    run_trial(
        campaign, None, "crash", reason=EVIL, hypothesis=EVIL, role=EVIL[:50], log=EVIL.encode(), excerpt=EVIL,
        lineage_view=EVIL, proposal={"transforms": [EVIL], "evidence": [EVIL], "notes": {EVIL: {"x": EVIL}}},
        files={"a.py": EVIL.encode(), "b.py": b"", "recipe.py": b"x\xff"}, numbers={EVIL: EVIL},
    )  # fmt: skip
    for address in ("/", campaign.get_absolute_url(), campaign.get_absolute_url() + "trials/1/"):
        html = page(browser, address)
        assert "<img" not in html
        assert "<script>" not in html
        assert "&lt;img" in html


def test_a_log_is_a_text_file_for_download(browser: Client, campaign: Campaign) -> None:
    run_trial(campaign, 2.3, log=b"<b>\xff\n" * 10)
    answer = browser.get(campaign.get_absolute_url() + "trials/1/log.txt")
    assert answer["Content-Type"].startswith("text/plain")
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer.content == b"<b>\xff\n" * 10


def test_long_logs_are_cut_in_the_middle(browser: Client, campaign: Campaign) -> None:
    run_trial(campaign, 2.3, log=b"first\n" + b"x" * 100_000 + b"\nlast")
    html = page(browser, campaign.get_absolute_url() + "trials/1/")
    assert "first" in html
    assert "last</pre>" in html
    assert "76,011 characters are left out" in html


def test_every_page_forbids_inline_scripts(browser: Client, campaign: Campaign) -> None:
    answer = browser.get(campaign.get_absolute_url())
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    for source in re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", answer.content.decode()):
        assert 'type="application/json"' in source
    assert not re.search(r"\son[a-z]+\s*=", answer.content.decode())


@pytest.mark.parametrize("trials", [5, 200])
def test_the_number_of_queries_does_not_depend_on_the_number_of_trials(
    browser: Client, django_assert_max_num_queries: Any, trials: int
) -> None:
    campaign = make_campaign(max_trials=1000)
    run_trial(campaign, 2.4, parent=None)
    for number in range(1, trials + 1):
        run_trial(
            campaign, 2.4 - number / 1000, parent=max(0, number - 1), role=("architecture", "optimization")[number % 2]
        )
    start(submit(campaign))
    base = campaign.get_absolute_url()
    limits = {"/": 8, base: 15, f"{base}charts/frontier.json": 8, f"{base}charts/labels.json": 8,
              f"{base}charts/roles.json": 8, f"{base}charts/throughput.json": 8, f"{base}head.json": 8,
              f"{base}trials/3/": 22, f"{base}?before=4": 14}  # fmt: skip
    for address, limit in limits.items():
        with django_assert_max_num_queries(limit):
            page(browser, address)
