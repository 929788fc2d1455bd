"""Trials side by side against their own rows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from tests.factories import make_campaign, run_trial, submit
from tests.trials.explorer.conftest import made_up
from tests.trials.test_views import EVIL, page
from trials.explorer import compare
from trials.models import Campaign, Trial

pytestmark = pytest.mark.django_db


def trials(campaign: Campaign, *numbers: int) -> list[Trial]:
    found = {trial.number: trial for trial in Trial.objects.of(campaign.pk).select_related("parent")}
    return [found[number] for number in numbers]


def test_a_line_differs_exactly_where_the_rows_do() -> None:
    campaign = made_up(30)
    chosen = trials(campaign, 0, 5, 9)
    lines = {(line.group, line.name): line for line in compare.lines(chosen)}
    for name, field in (("role", "role"), ("seed", "seed"), ("depth", "depth"), ("hypothesis", "hypothesis")):
        line = next(line for (_, told), line in lines.items() if told == name)
        assert line.differs == (len({getattr(trial, field) for trial in chosen}) > 1), name
    assert lines["outcome", "score"].cells == [compare.formatting.score(trial.score) for trial in chosen]
    records = [trial.measurements.get().record for trial in chosen]
    assert lines["proposal", "transforms"].cells == [
        ", ".join(t.proposal["transforms"]) or compare.formatting.NOTHING for t in chosen
    ]
    assert lines["measurement", "payload bytes"].cells == [f"{record['payload_bytes']:,}" for record in records]
    assert lines["seconds", "train"].cells == [str(record["seconds"]["train"]) for record in records]


def test_start_and_best_are_compared_when_nothing_is_asked(viewer: Client) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, 2.3)
    run_trial(campaign, 2.5)
    base = f"{campaign.get_absolute_url()}compare/"
    html = page(viewer, base)
    assert re.findall(r"trial (\d+)</a> <span", html) == ["0", "1"]
    assert "<del>0</del>" in html and "<ins>1</ins>" in html
    only = page(viewer, f"{base}?trial=0,2&only=differs")
    assert "isolation" not in only and "isolation" in page(viewer, f"{base}?trial=0,2")
    third = page(viewer, f"{base}?trial=0&trial=1&trial=2&with=2")
    assert "trial 0 on the left, trial 2 on the right" in third and "<ins>2</ins>" in third


@pytest.mark.parametrize(
    ("query", "told"),
    [("", "Nothing to compare yet"), ("?trial=0,77", "no trial 77"), ("?trial=x,9999999999,-1", "Nothing to compare")],
)
def test_what_is_not_there_is_said(viewer: Client, query: str, told: str) -> None:
    campaign = make_campaign()
    submit(campaign, parent=None)
    assert told in page(viewer, f"{campaign.get_absolute_url()}compare/{query}")


def test_no_more_than_a_few_are_compared(viewer: Client, django_assert_max_num_queries: Any) -> None:
    campaign = made_up(20)
    with django_assert_max_num_queries(20):
        html = page(viewer, f"{campaign.get_absolute_url()}compare/?trial={','.join(map(str, range(12)))}")
    assert len(re.findall(r"trial (\d+)</a> <span", html)) == compare.MOST


def test_hostile_text_stays_text(viewer: Client) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    run_trial(campaign, None, "crash", reason=EVIL, hypothesis=EVIL, role=EVIL[:50], numbers={EVIL: EVIL},
              proposal={"x": [EVIL]}, files={"a.py": EVIL.encode(), "b.py": b"", "recipe.py": b""})  # fmt: skip
    html = page(viewer, f"{campaign.get_absolute_url()}compare/?trial=0,1")
    assert "<img" not in html and "<script>" not in html and "&lt;img" in html
