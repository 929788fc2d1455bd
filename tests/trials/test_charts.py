"""Figures from plain numbers, and the colours that they name. No database."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from trials import charts, formatting
from trials.analytics import Bin, LabelCount, Point, Points, RoleProfile, Step
from trials.vocab import Label

TOKENS = (Path(__file__).resolve().parents[2] / "static/css/tokens.css").read_text()
STEPS = [Step(0, 2.4, "baseline", 0.0), Step(2, 2.2, "loss", 0.5)]
POINTS = Points([Point(0, 2.4, "baseline", "baseline", "Start."), Point(1, 2.5, "discard", "loss", "Worse."),
                 Point(2, 2.2, "keep", "loss", "Better.")], 1)  # fmt: skip
EVIL = '<b>x</b><a href="javascript:alert(1)">y</a>%{y} &lt;i&gt; \u202e'


def palette(theme: int) -> dict[str, str]:
    """Custom properties of one theme (0 light, 1 dark) as #rrggbb."""
    pairs = re.findall(r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", TOKENS)
    return {name: colours[theme] for name, *colours in pairs}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def mix(one: str, other: str, share: float) -> str:
    """``share`` of one colour in another, in sRGB as color-mix does it."""
    channels = [
        round(int(one[start : start + 2], 16) * share + int(other[start : start + 2], 16) * (1 - share))
        for start in (1, 3, 5)
    ]
    return "#" + "".join(f"{channel:02x}" for channel in channels)


@pytest.mark.parametrize("theme", [0, 1])
def test_every_label_is_readable_on_its_badge_and_visible_in_charts(theme: int) -> None:
    colours = palette(theme)
    for label in Label:
        colour = colours[f"label-{label.replace('_', '-')}"]
        badge = mix(colour, colours["raised"], 0.09)
        assert contrast(colour, badge) >= 4.5, label
        assert contrast(colour, colours["raised"]) >= 3, label
    assert len({colours[f"label-{label.replace('_', '-')}"] for label in Label}) == len(Label)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_marks_have_enough_contrast(theme: int) -> None:
    colours = palette(theme)
    for ground in ("paper", "raised", "sunken"):
        for ink in ("ink", "ink-soft", "accent"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for ink in ("better", "worse"):
        assert contrast(colours[ink], colours["raised"]) >= 4.5, ink
    assert contrast(colours["danger"], colours["danger-paper"]) >= 4.5
    assert contrast(colours["accent-ink"], colours["accent"]) >= 4.5
    for line in ("old", "new"):
        assert contrast(colours["ink"], colours[f"diff-{line}-word"]) >= 4.5
        assert contrast(colours["ink-soft"], colours[f"diff-{line}"]) >= 4.5
    for phase in ("queue", "run", "eval", "log"):
        assert contrast(colours[f"phase-{phase}"], colours["raised"]) >= 3, phase


def all_figures() -> dict[str, dict[str, Any]]:
    profile = RoleProfile("loss", 2, 1, {"keep": 1, "discard": 1}, {"keep": 20.0})
    return {
        "frontier": charts.frontier(POINTS, STEPS, 5, "lower"),
        "labels": charts.labels([LabelCount("keep", 3, 0.75), LabelCount("crash", 1, 0.25)]),
        "roles": charts.roles([profile]),
        "throughput": charts.throughput([Bin(0, 1, 4, {"queue": 4.0, "run": 40.0, "eval": 8.0, "log": 0.4})]),
    }


@pytest.mark.parametrize("name", ["frontier", "labels", "roles", "throughput"])
def test_figures_are_plain_json_without_a_template_and_name_known_colours(name: str) -> None:
    figure = all_figures()[name]
    text = json.dumps(figure, allow_nan=False)
    assert "template" not in figure["layout"]
    assert len(text) < 6000
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", text)) <= set(palette(0))
    assert not re.search(r'"#[0-9a-f]{3,6}"', text)


def test_the_frontier_is_a_staircase_up_to_the_last_trial() -> None:
    best, *groups = all_figures()["frontier"]["data"]
    assert (best["x"], best["y"], best["line"]["shape"]) == ([0, 2, 5], [2.4, 2.2, 2.2], "hv")
    assert {group["name"]: group["x"] for group in groups} == {"baseline": [0], "keep": [2], "discard": [1]}
    assert len({group["marker"]["symbol"] for group in groups}) == 3


def test_bad_outliers_do_not_press_the_frontier_flat() -> None:
    scores = [2.4 - index / 100 for index in range(20)] + [40.0, 50.0]
    low, high, outside = charts.score_range(scores, [Step(0, 2.4, "", 0), Step(19, 2.21, "", 1)], "lower")
    assert low is not None and high is not None
    assert low < 2.21
    assert 2.4 < high < 4
    assert outside == 2
    low, high, outside = charts.score_range([-value for value in scores], [Step(0, -2.4, "", 0)], "higher")
    assert low is not None and high is not None
    assert -4 < low < -2.4
    assert high > -2.21
    assert outside == 2


@pytest.mark.parametrize("scores", [[], [2.4], [2.4, 2.4]])
def test_a_range_needs_no_spread(scores: list[float]) -> None:
    low, high, outside = charts.score_range(scores, STEPS[:1] if scores else [], "lower")
    assert outside == 0
    assert (low is None) if not scores else (low is not None and high is not None and low < 2.4 < high)


def test_text_of_strangers_cannot_style_or_link_a_plot() -> None:
    points = Points([Point(1, 2.4, "keep", EVIL, EVIL)], 1)
    figure = charts.frontier(points, STEPS, 3, "lower")
    _, role, idea = figure["data"][1]["customdata"][0]
    for text in (role, idea.replace("<br>", "")):
        assert "<" not in text
        assert ">" not in text
        assert "\u202e" not in text
    assert "&amp;lt;i&amp;gt;" in role
    bars = charts.roles([RoleProfile(EVIL, 1, 1, {"keep": 1})])
    assert all("<" not in name for name in bars["data"][0]["y"])


def test_hover_lines_are_short() -> None:
    lines = charts.hover_text("word " * 30).split("<br>")
    assert max(len(line) for line in lines) <= charts.TEXT_LINE
    assert len(lines) > 2


def test_labels_are_drawn_most_frequent_on_top() -> None:
    bars = all_figures()["labels"]["data"][0]
    assert bars["y"] == ["crash", "keep"]
    assert bars["marker"]["color"] == ["var(--label-crash)", "var(--label-keep)"]
    assert bars["text"] == ["1 · 25 %", "3 · 75 %"]


def test_throughput_splits_the_mean_trial() -> None:
    rate, *split = all_figures()["throughput"]["data"]
    assert rate["y"] == [4.0]
    assert {bar["name"]: bar["y"][0] for bar in split} == {"queue": 1.0, "run": 10.0, "eval": 2.0, "log": 0.1}
    merged = charts.throughput([Bin(0, 4, 8, {}), Bin(4, 4, 0, {})])["data"][0]
    assert (merged["y"], merged["width"]) == ([2.0, 0.0], [4, 4])


def test_every_label_has_a_pattern() -> None:
    assert set(charts.PATTERNS) == set(Label)


def test_short_searches_are_told_in_minutes_and_long_ones_in_hours() -> None:
    short, long = ([Bin(0, width, 4, {}), Bin(width, width, 8, {})] for width in (0.5, 2))
    for bins, unit, ends in ((short, "minutes", [0, 60]), (long, "hours", [0, 4])):
        figure, numbers = charts.throughput(bins), charts.throughput_table(bins)
        axis = figure["layout"]["xaxis"]
        assert axis["title"]["text"] == f"{unit} since launch" and axis["range"] == ends
        assert figure["data"][0]["x"] == [0, ends[1] / 2] and figure["data"][0]["y"][1] == 8 / bins[0].width
        assert numbers["columns"][0] == f"from, {unit}" and float(numbers["rows"][0][0]) == ends[1] / 2


def test_tables_hold_the_numbers_as_text() -> None:
    assert charts.frontier_table(STEPS)["rows"] == [
        ["2", "loss", "2.20000", "30.00"],
        ["0", "baseline", "2.40000", "0.00"],
    ]
    profile = RoleProfile("test_time_training", 4, 1, {"keep": 1, "crash": 3})
    table = charts.roles_table([profile])
    assert table["columns"] == ["role", "trials", "keep rate", "keep", "crash"]
    assert table["rows"] == [["test time training", "4", "25.0 %", "1", "3"]]


def test_a_sparkline_is_a_staircase_inside_its_box() -> None:
    points = [tuple(map(float, pair.split(","))) for pair in charts.sparkline(STEPS, 5).split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert all(0 <= x <= 140 and 0 <= y <= 30 for x, y in points)
    assert points[0][1] < points[-1][1]
    assert charts.sparkline([], 3) == ""
    assert charts.sparkline(STEPS[:1], 0) != ""


def test_time_split_is_in_percent_of_the_known_phases() -> None:
    split = charts.time_split({"queue": 1.0, "run": 2.0, "eval": 1.0, "log": None})
    assert [(part["phase"], part["share"]) for part in split] == [("queue", 25.0), ("run", 50.0), ("eval", 25.0)]
    assert charts.time_split({"queue": 0.0}) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (formatting.score(2.276754), "2.27675"),
        (formatting.score(None), "\u2013"),
        (formatting.score(-0.000001), "\u22120.00000"),
        (formatting.score(1234.5), "1,234.50"),
        (formatting.delta(0.01), "+0.01000"),
        (formatting.delta(-0.01), "\u22120.01000"),
        (formatting.percent(-0.0587), "\u22125.87 %"),
        (formatting.seconds(0.25), "0.3"),
        (formatting.whole(272000), "272,000"),
        (formatting.duration(41.5), "41.5 s"),
        (formatting.duration(200), "3 min 20 s"),
        (formatting.duration(18420), "5 h 07 min"),
        (formatting.duration(187200), "2 d 4 h"),
        (formatting.short("a\n b"), "a b"),
        (formatting.short("x" * 200), "x" * 159 + "\u2026"),
        (formatting.visible("a\u202eb"), "a[U+202E]b"),
        (formatting.phase("train", 0.421), "train 42 %"),
    ],
)
def test_numbers_are_written_for_people(found: str, expected: str) -> None:
    assert found == expected
