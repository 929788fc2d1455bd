"""The tree of trials against a walk of its own over all rows."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.factories import calibrated, make_campaign, run_trial, submit
from tests.trials.explorer.conftest import made_up
from tests.trials.test_lineage import deep_search
from tests.trials.test_views import EVIL, page
from tests.trials.traces.runs import published
from tests.trials.traces.test_importing import imported
from trials.explorer import tree
from trials.formatting import delta, fixed
from trials.models import Campaign, Trial
from trials.querysets import _ANCESTORS

pytestmark = pytest.mark.django_db
NODE = re.compile(r'class="tree-node" data-number="(\d+)" data-label="([a-z_]+)"')


def rows_of(campaign: Campaign) -> dict[int, Trial]:
    return {trial.number: trial for trial in Trial.objects.of(campaign.pk).select_related("parent")}


def walked(campaign: Campaign, number: int) -> list[int]:
    """The trial and its ancestors, oldest first, parent by parent."""
    rows, line = rows_of(campaign), [number]
    while (parent := rows[line[-1]].parent) is not None:
        line.append(parent.number)
    return line[::-1]


def numbers(html: str) -> list[int]:
    return [int(number) for number, _ in NODE.findall(html)]


def test_the_line_to_the_best_is_its_ancestors_and_the_rest_is_beside_it(viewer: Client, search: Campaign) -> None:
    assert search.best_trial is not None
    line, rows = walked(search, search.best_trial.number), rows_of(search)
    base = f"{search.get_absolute_url()}lineage/"
    html = page(viewer, base)
    main, below = html.split('<div class="below">') if '<div class="below">' in html else (html, "")
    assert numbers(main) == line
    built = {number: sorted((t.number for t in rows.values() if t.parent and t.parent.number == number), reverse=True)
             for number in rows}  # fmt: skip
    assert numbers(below) == built[line[-1]][: tree.CHILDREN]
    for number, following in pairwise(line):
        others = [child for child in built[number] if child != following]
        told = re.search(rf"lineage/{number}/children/\?without={following}\"[^<]+<summary>(\d+) others? built", main)
        assert (int(told[1]) if told else 0) == len(others)
        found, address = [], f"{base}{number}/children/?without={following}"
        while address:
            piece = page(viewer, address)
            found += numbers(piece)
            more = re.search(r'hx-get="([^"]+\?after=[^"]+)"', piece)
            address = more[1].replace("&amp;", "&") if more else ""
        assert found == others


def test_every_edge_has_its_gain_and_its_edit(viewer: Client) -> None:
    campaign = calibrated()
    run_trial(campaign, 1.9, hypothesis="A fine idea.", proposal={"evidence": [0, 1, "x", 9]})
    run_trial(campaign, None, "crash", parent=1, proposal={"evidence": [0, 1]})
    html = page(viewer, f"{campaign.get_absolute_url()}lineage/?trial=2")
    rows = rows_of(campaign)
    assert numbers(html) == [0, 1, 2]
    gains = re.findall(r'class="gain ([a-z]*)">([^<]*)(?:<small class="soft">([^<]*)</small>)?</span>', html)
    assert campaign.noise_sd is not None and rows[1].delta_vs_parent is not None
    assert gains[1] == (
        "better", delta(rows[1].delta_vs_parent), f"{fixed(abs(rows[1].delta_vs_parent) / campaign.noise_sd, 1)} sd"
    )  # fmt: skip
    assert [gain for _, gain, _ in gains] == ["", delta(rows[1].delta_vs_parent), "\u2013"]
    piece = page(viewer, f"{campaign.get_absolute_url()}lineage/2/edge/")
    assert "<ins>2</ins>" in piece and "<del>1</del>" in piece
    assert re.findall(r"trial (\d+)</a>", piece) == ["0"]  # the parent is not named twice
    assert "starting recipe" in page(viewer, f"{campaign.get_absolute_url()}lineage/0/edge/")


@pytest.mark.parametrize(("role", "standing"), [("optimization", ""), ("", "discard"), ("architecture", "crash")])
def test_neighbours_are_chosen_by_role_and_label(
    viewer: Client, monkeypatch: pytest.MonkeyPatch, search: Campaign, role: str, standing: str
) -> None:
    monkeypatch.setattr(tree, "LOOK", 7)
    rows = rows_of(search)
    busy = max(rows, key=lambda number: sum(t.parent is not None and t.parent.number == number for t in rows.values()))
    expected = sorted(
        (t.number for t in rows.values() if t.parent and t.parent.number == busy
         and role in ("", t.role) and standing in ("", t.standing)),
        reverse=True,
    )  # fmt: skip
    found, address = [], f"{search.get_absolute_url()}lineage/{busy}/children/?role={role}&standing={standing}"
    while address:
        piece = page(viewer, address)
        found += numbers(piece)
        more = re.search(r'hx-get="([^"]+\?after=[^"]+)"', piece)
        address = more[1].replace("&amp;", "&") if more else ""
    assert expected and found == expected
    html = page(viewer, f"{search.get_absolute_url()}lineage/?trial={busy}&role={role}&standing={standing}")
    assert 'aria-current="true"' in html and f"selected>{(role or standing).replace('_', ' ')}" in html


def test_any_stretch_of_a_line_five_thousand_deep_is_opened_at_bounded_cost(viewer: Client) -> None:
    campaign = deep_search(5000)
    base = f"{campaign.get_absolute_url()}lineage/"
    html = page(viewer, f"{base}?trial=5000")
    assert numbers(html) == [0, 1, *range(4990, 5001)] and "4,988 trials of depth 2 to 4,989" in html
    first, middle, last = (
        link.replace("&amp;", "&") for link in re.findall(r'hx-get="([^"]+/line/[^"]+)"', html)
    )  # fmt: skip
    assert numbers(page(viewer, first)) == [*range(2, 22)]
    assert numbers(page(viewer, middle)) == [*range(2486, 2506)]
    piece = page(viewer, last)
    assert numbers(piece) == [*range(4970, 4990)] and "4,968 trials of depth 2 to 4,969" in piece
    assert numbers(page(viewer, f"{base}?trial=5000&at=2486")) == [0, 1, *range(2486, 2506), *range(4990, 5001)]
    short = page(viewer, f"{base}?trial=5000&at=4969")
    assert numbers(short) == [0, 1, *range(4969, 5001)]  # what would leave a gap of one is shown
    assert viewer.get(f"{base}5000/line/?first=2&last=9999&at=0").status_code == 404
    with connection.cursor() as cursor:
        wanted = {"trial": Trial.objects.get(campaign=campaign, number=5000).pk, "campaign": campaign.pk,
                  "low": 2486, "high": 2505}  # fmt: skip
        cursor.execute(f"EXPLAIN (ANALYZE) {_ANCESTORS}", wanted)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    visited = re.search(r"Recursive Union .*actual time=\S+ rows=([\d.]+)", plan)
    assert visited is not None and float(visited[1]) <= 20 + 3 * 13


def test_a_line_whose_skips_were_never_written_is_the_same(viewer: Client) -> None:
    campaign = deep_search(120, skips=False)
    html = page(viewer, f"{campaign.get_absolute_url()}lineage/?trial=120&at=50")
    assert numbers(html) == [0, 1, *range(50, 70), *range(110, 121)]


def test_the_page_takes_the_same_queries_at_any_length(viewer: Client) -> None:
    counts = []
    for trials in (30, 400):
        campaign = made_up(trials, name=f"of {trials}")
        with CaptureQueriesContext(connection) as queries:
            page(viewer, f"{campaign.get_absolute_url()}lineage/")
        with CaptureQueriesContext(connection) as piece:
            page(viewer, f"{campaign.get_absolute_url()}lineage/0/children/?standing=discard")
        counts.append((len(queries), len(piece)))
    assert counts[0] == counts[1] and counts[0][0] <= 13 and counts[0][1] <= 9


def test_the_tree_of_a_released_run_is_that_of_its_rows(viewer: Client, tmp_path: Path) -> None:
    campaign = imported(published("cifar_airbench96", tmp_path), "cifar_airbench96")
    assert campaign.best_trial is not None
    html = page(viewer, f"{campaign.get_absolute_url()}lineage/")
    main = html.split('<div class="below">')[0]
    assert numbers(main) == walked(campaign, campaign.best_trial.number) and len(numbers(main)) > 2
    gains = [trial.delta_vs_parent for number in numbers(main) for trial in [rows_of(campaign)[number]]]
    assert re.findall(r'class="gain [a-z]*">([^<]*)', main)[1:] == [delta(gain) for gain in gains[1:]]
    assert page(viewer, f"{campaign.get_absolute_url()}lineage/{numbers(main)[1]}/edge/")


def test_what_is_not_there_is_said(viewer: Client) -> None:
    campaign = make_campaign()
    base = f"{campaign.get_absolute_url()}lineage/"
    assert "No lineage yet" in page(viewer, base)
    submit(campaign, parent=None)
    assert numbers(page(viewer, base)) == [0] and "Nothing was built on trial 0 yet." in page(viewer, base)
    assert "no trial 7" in page(viewer, f"{base}?trial=7")
    for address in ("?role=nobody", "?standing=nothing", "7/edge/", "7/children/", "7/line/?first=0&last=0&at=0"):
        assert viewer.get(base + address).status_code == 404, address


def test_hostile_text_stays_text(viewer: Client) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.3, hypothesis=EVIL, role=EVIL[:50], proposal={"evidence": [EVIL]},
              files={"a.py": EVIL.encode(), "b.py": b"", "recipe.py": b""})  # fmt: skip
    base = f"{campaign.get_absolute_url()}lineage/"
    for address in ("", "?trial=0", "0/children/", "1/edge/"):
        html = page(viewer, base + address)
        assert "<img" not in html and "<script>" not in html, address
