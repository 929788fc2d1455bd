"""Numbers and plots of the explorer against counts of their own over all rows."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import pandas
import plotly.graph_objects as go
import pytest
from django.test import Client

from tests.factories import SPEC, calibrated, make_campaign, run_trial
from tests.trials.explorer.conftest import made_up
from tests.trials.test_diversity import by_the_book
from tests.trials.test_tallies import finished, seconds_in
from tests.trials.test_views import EVIL, page
from trials import analytics
from trials.explorer import figures, pages, plots
from trials.models import Campaign, Trial
from trials.services.reports import current_report
from trials.vocab import FAILED_LABELS, SCORED_LABELS, Label

pytestmark = pytest.mark.django_db
LONG = 260


@pytest.fixture
def long_search(db: None, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    monkeypatch.setattr(figures, "ALL_POINTS", 200)
    return made_up(LONG)


def ranked(campaign: Campaign) -> list[Trial]:
    return [trial for trial in finished(campaign) if trial.score is not None and trial.label in SCORED_LABELS]


@pytest.mark.parametrize("axis", ["trial", "time"])
def test_a_density_counts_every_score_in_its_cell(long_search: Campaign, axis: str) -> None:
    found = figures.density(long_search, axis)
    assert found is not None and len(found.counts) <= figures.ROWS
    cells, outside = Counter[tuple[int, int]](), 0
    for trial in ranked(long_search):
        x = trial.number if axis == "trial" else seconds_in(long_search, trial) / 3600
        row = ((trial.score or 0.0) - (found.y0 - found.dy / 2)) / found.dy
        if not 0 <= row < len(found.counts):
            outside += 1
            continue
        cells[int(row), int((x - (found.x0 - found.dx / 2)) / found.dx)] += 1
    counted = Counter({(r, c): n for r, row in enumerate(found.counts) for c, n in enumerate(row) if n})
    moved = (counted - cells).total()  # a score on the edge of two levels may fall to either by rounding
    assert moved <= 2 and counted.total() == cells.total()
    assert (found.outside, found.trials) == (outside, len(ranked(long_search)))
    assert outside <= 0.1 * found.trials


def test_a_short_search_shows_every_trial_and_a_long_one_the_telling_ones(long_search: Campaign) -> None:
    short = made_up(40)
    plane = figures.plane(short, "trial")
    assert plane.density is None and [p.number for p in plane.points] == [t.number for t in ranked(short)]
    plane = figures.plane(long_search, "time")
    assert plane.density is not None
    keeps = {trial.number for trial in ranked(long_search) if trial.standing in (Label.KEEP, Label.BASELINE)}
    newest = {t.number for t in ranked(long_search) if t.number > long_search.last_number - figures.NEWEST}
    assert {point.number for point in plane.points} == keeps | newest
    hours = {t.number: seconds_in(long_search, t) / 3600 for t in ranked(long_search)}
    assert all(point.hours == pytest.approx(hours[point.number]) for point in plane.points)


def test_outcomes_over_time_equal_a_count(long_search: Campaign) -> None:
    for role in ("", "optimization"):
        rows = figures.outcomes(long_search, role)
        expected = Counter(
            (int(seconds_in(long_search, trial) / 3600 / rows[0].width), trial.standing)
            for trial in finished(long_search)
            if role in ("", trial.role)
        )
        found = {(at, label): count for at, row in enumerate(rows) for label, count in row.labels.items()}
        assert found == expected


def test_efficiency_is_the_share_of_the_slots_time(long_search: Campaign) -> None:
    bins = analytics.throughput(long_search)
    shares = figures.efficiency(bins, long_search.slots)
    for at, (row, share) in enumerate(zip(bins, shares, strict=True)):
        mine = [t for t in finished(long_search) if int(seconds_in(long_search, t) / 3600 / row.width) == at]
        busy = sum((t.run_seconds or 0) + (t.eval_seconds or 0) + (t.log_seconds or 0) for t in mine)
        assert share == pytest.approx(busy / (3600 * row.width * long_search.slots), rel=1e-3)


def test_roles_have_what_their_trials_cost_and_on_whom_they_built(long_search: Campaign) -> None:
    for row in figures.roles(long_search):
        mine = [t for t in finished(long_search) if t.role == row.profile.role]
        spent = Counter[str]()
        for trial in mine:
            spent[trial.standing] += (trial.run_seconds or 0) + (trial.eval_seconds or 0)
        failed = {label: spent[label] for label in FAILED_LABELS if spent[label]}
        assert row.failed_seconds == pytest.approx(sum(failed.values()), rel=1e-3)
        assert row.costliest == max(failed, key=lambda label: failed[label])
        assert row.failed_share == pytest.approx(sum(failed.values()) / sum(spent.values()), rel=1e-3)
        keeps = [t for t in mine if t.standing == Label.KEEP]
        assert row.crossed == (sum(t.parent is not None and t.parent.role != t.role for t in keeps), len(keeps))
        assert row.surface == next(r["surface"] for r in long_search.roles if r["name"] == row.profile.role)


def test_fronts_are_what_nothing_beats_and_the_start_does_not_stretch_them(viewer: Client) -> None:
    spec = {**SPEC, "profile": {**SPEC["profile"], "devices": 8}}
    campaign = make_campaign(agent={"provider": "test"}, spec=spec)
    run_trial(campaign, 900.0, parent=None)
    paid = [0.5, 0.1, None, 0.3, "x", 0.2, -1]
    for usd, score in zip(paid, (2.0, 2.4, 1.0, 2.1, 1.5, 2.3, 1.2), strict=True):
        run_trial(campaign, score, parent=0, proposal={} if usd is None else {"usd": usd})
    rows = pandas.DataFrame(
        list(Trial.objects.of(campaign.pk).values("number", "score", "run_seconds", "eval_seconds"))
    )
    rows["usd"] = [math.nan, *(value if isinstance(value, float) else math.nan for value in paid)]
    rows["seconds"] = 8 * (1000 * rows["run_seconds"]).round() / 1000 + 8 * (1000 * rows["eval_seconds"]).round() / 1000
    for axis in ("usd", "seconds"):
        known = rows[rows[axis] > 0].sort_values([axis, "score", "number"])
        best = known[known["score"] < known["score"].cummin().shift(fill_value=math.inf)]
        body = json.loads(page(viewer, f"{campaign.get_absolute_url()}plots/front-{axis}.json"))
        [points] = body["figure"]["data"]
        assert [told[0] for told in points["customdata"]] == list(best["number"]), axis
        assert points["x"] == pytest.approx(list(best[axis])) and points["y"] == list(best["score"])
        layout = body["figure"]["layout"]
        low, high = layout["yaxis"]["range"]
        assert low < best["score"].min() and best["score"].max() < high
        assert bool(layout.get("shapes")) == (low <= 900 <= high)
        assert ("is outside" in json.dumps(layout.get("annotations", []))) == (not low <= 900 <= high)
    assert "Score against money" in page(viewer, f"{campaign.get_absolute_url()}frontier/")
    assert "paid $0.5000" not in page(viewer, f"{campaign.get_absolute_url()}trials/1/")  # no session is known


def test_diversity_by_role_is_that_of_its_words(viewer: Client, long_search: Campaign) -> None:
    address = f"{long_search.get_absolute_url()}roles/"
    assert "Not computed yet" in page(viewer, address)
    current_report(long_search)
    html = page(viewer, address)
    ideas = [t for t in finished(long_search) if t.label not in (Label.BASELINE, Label.HARNESS_ABORT)]
    every = [trial.hypothesis for trial in ideas]
    for role in ("architecture", "optimization"):
        mine = [trial.hypothesis for trial in ideas if trial.role == role]
        sizes, repeats = by_the_book(mine, every)
        clusters = math.exp(-sum(n / len(mine) * math.log(n / len(mine)) for n in sizes))
        row = re.search(rf">{role}</th>(.*?)</tr>", html.split('id="diversity-title"')[1])
        assert row is not None
        cells = re.findall(r"<td>([^<]*)</td>", row[1])
        assert cells[:2] == [str(len(mine)), f"{clusters:.1f}"]
        assert cells[2:] == [f"{100 * max(sizes) / len(mine):.1f} %", f"{100 * repeats / (len(mine) - 1):.1f} %"]


def test_the_nearest_failures_are_the_nearest(long_search: Campaign) -> None:
    cap = long_search.spec["profile"]["limits"]["artifact_bytes"]
    shares = {}
    for trial in finished(long_search):
        if "bytes_over" in trial.numbers:
            shares[trial.number] = trial.numbers["bytes_over"] / cap
        elif "units_over" in trial.numbers:
            shares[trial.number] = trial.numbers["units_over"] / (trial.numbers["units"] - trial.numbers["units_over"])
    expected = sorted(shares, key=lambda number: (shares[number], number))[: figures.NEAREST]
    assert [miss.number for miss in figures.nearest(long_search)] == expected
    best = sorted((t for t in ranked(long_search) if t.standing == "discard"), key=lambda t: (t.score, t.number))
    assert [t.number for t in figures.nearest_scores(long_search)] == [t.number for t in best[: figures.NEAREST]]
    mine = [t.number for t in best if t.role == "architecture"][: figures.NEAREST]
    assert [t.number for t in figures.nearest_scores(long_search, "architecture")] == mine


def test_reasons_lead_to_their_trials(viewer: Client, long_search: Campaign) -> None:
    for reason in figures.reasons(long_search)[:3]:
        assert Trial.objects.of(long_search.pk).filter(failure=reason.failure).count() == reason.trials
    html = page(viewer, f"{long_search.get_absolute_url()}failures/")
    link = re.search(r'href="([^"]+\?failure=[^"]+)">(\d+)</a>', html)
    assert link is not None
    rows = page(viewer, link[1].replace("&amp;", "&") + "&sort=oldest")
    assert len(re.findall(r"<tr data-number", rows)) == min(50, int(link[2]))


@pytest.mark.parametrize("trials", [60, LONG])
def test_pages_and_plots_take_the_same_queries_at_any_length_and_few_bytes(
    viewer: Client, django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch, trials: int
) -> None:
    monkeypatch.setattr(figures, "ALL_POINTS", 200)
    base = made_up(trials).get_absolute_url()
    for name, most in (("frontier", 7), ("failures", 11), ("throughput", 9), ("roles", 9)):
        with django_assert_max_num_queries(most):
            page(viewer, f"{base}{name}/")
    for name in pages.PLOTS:
        with django_assert_max_num_queries(13):
            answer = viewer.get(f"{base}plots/{name}.json")
        assert answer.status_code == 200 and len(answer.content) <= 100_000, name
        body = json.loads(answer.content)
        assert go.Figure(body["figure"]).data and (body["table"]["rows"] or name == "front-usd"), name
        assert viewer.get(f"{base}plots/{name}.json", headers={"If-None-Match": answer["ETag"]}).status_code == 304


def test_plots_of_an_empty_search_answer_and_pages_say_what_is_missing(viewer: Client) -> None:
    base = make_campaign().get_absolute_url()
    for name in pages.PLOTS:
        assert viewer.get(f"{base}plots/{name}.json").status_code == 200, name
    assert "No trial has a score yet." in page(viewer, f"{base}frontier/")
    assert "No trial has failed yet." in page(viewer, f"{base}failures/")
    assert "No trial has finished yet." in page(viewer, f"{base}roles/")
    assert page(viewer, f"{base}throughput/")


def test_the_noise_and_what_is_not_confirmed_yet_are_on_the_frontier(viewer: Client) -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9)
    body = json.loads(page(viewer, f"{campaign.get_absolute_url()}plots/frontier.json"))
    names = [trace.get("name") for trace in body["figure"]["data"]]
    assert "provisional" in names and "± 1 sd of one score" in names
    low, high = (body["figure"]["data"][at]["y"] for at in (0, 1))
    best = body["figure"]["data"][2]["y"]
    assert campaign.noise_sd is not None
    assert [(h - lo) / 2 for h, lo in zip(high, low, strict=True)] == pytest.approx([campaign.noise_sd] * len(best))
    assert best[-1] == campaign.best_score  # the provisional trial is not the best


@pytest.mark.parametrize("address", ["plots/nothing.json", "plots/outcomes.json?role=nobody", "failures/?role=x"])
def test_what_is_not_there_is_not_found(viewer: Client, address: str) -> None:
    assert viewer.get(make_campaign().get_absolute_url() + address).status_code == 404


def test_hostile_text_is_inert_on_pages_and_in_plots(viewer: Client) -> None:
    campaign = make_campaign(roles=[{"name": EVIL[:50], "surface": [EVIL], "preamble": ""}])
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.3, role=EVIL[:50], hypothesis=EVIL)
    run_trial(campaign, 2.45, role=EVIL[:50], hypothesis=EVIL)
    run_trial(campaign, None, "size_blocked", role=EVIL[:50], hypothesis=EVIL, reason=EVIL, numbers={"bytes_over": 9})
    base = campaign.get_absolute_url()
    for name in ("frontier", "failures", "throughput", "roles"):
        html = page(viewer, f"{base}{name}/")
        assert "<img" not in html and "<script>" not in html, name
    for name in pages.PLOTS:
        figure = json.loads(page(viewer, f"{base}plots/{name}.json"))["figure"]
        assert "<img" not in json.dumps(figure) and "<script" not in json.dumps(figure), name
    point = next(p for p in figures.plane(campaign, "trial").points if p.number == 1)
    assert "<" not in plots._told(point)[1]


def test_strangers_see_none_of_it(client: Client) -> None:
    base = make_campaign().get_absolute_url()
    for address in ("frontier/", "failures/", "throughput/", "roles/", "plots/outcomes.json"):
        assert client.get(base + address).status_code == 302
