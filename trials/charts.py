"""Plain numbers in, Plotly figures out (JSON-able dicts); pure, no database.

Colours are names of CSS custom properties, ``var(--label-keep)``: the page resolves them, so that one figure serves
light and dark and a label has one colour everywhere. Text that a recipe or an agent wrote goes through ``inert``:
Plotly reads a few HTML tags in hover texts and tick labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from trials.analytics import SECONDS, Bin, LabelCount, Points, RoleProfile, Step
from trials.formatting import percent, score, seconds, short, words
from trials.vocab import Direction, Label

Figure = dict[str, Any]

#: Marker of each label in scatter plots: colour is never the only difference.
SYMBOLS = {
    Label.BASELINE: "square",
    Label.KEEP: "diamond",
    Label.PROVISIONAL: "triangle-up",
    Label.DISCARD: "circle-open",
}
#: Fill pattern of each label in stacked bars, for the same reason.
PATTERNS = {
    Label.KEEP: "", Label.DISCARD: "", Label.PROVISIONAL: ".", Label.BASELINE: "|", Label.PREFLIGHT_CRASH: "\\",
    Label.CRASH: "/", Label.SIZE_BLOCKED: "x", Label.TRAIN_BUDGET_OVERRUN: "-", Label.EVAL_BUDGET_OVERRUN: "+",
    Label.DISQUALIFIED: ".", Label.INVALID_RESULT: "x", Label.RULE_VIOLATION: "/", Label.HARNESS_ABORT: "|",
}  # fmt: skip
PHASE_COLOURS = {phase: f"var(--phase-{phase})" for phase in SECONDS}
TRIAL_HOVER = "<b>trial %{customdata[0]}</b> · %{customdata[1]}<br>%{y:.5f}<br>%{customdata[2]}<extra></extra>"
TEXT_LINE = 48
AXES = ("xaxis", "yaxis", "yaxis2", "yaxis3")
QUANTILE = 0.85
FEW = 12
STAIRS, LINES = 300, 40
"""Steps of the best score that are drawn, and that stand in the table beside the plot, newest first."""
SLOTS = 6
SHORT_HOURS = 2
"""Until then times since launch are told in minutes."""


def inert(text: str, length: int = 96) -> str:
    """Hostile text for Plotly: one cut line, with the characters that start its tags and entities spelled out."""
    plain = short(text, length)
    if not plain.isprintable():
        plain = "".join(character for character in plain if character.isprintable())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def hover_text(text: str) -> str:
    """``inert`` text on lines of about TEXT_LINE characters."""
    if not text:
        return ""
    lines, line = [], ""
    for word in short(text).split(" "):
        if not line:
            line = word
        elif len(line) + len(word) < TEXT_LINE:
            line = f"{line} {word}"
        else:
            lines.append(line)
            line = word
    return "<br>".join(inert(each) for each in (*lines, line))


def colour(label: str) -> str:
    return f"var(--label-{label.replace('_', '-')})"


def figure_of(traces: Sequence[Any], **layout: Any) -> Figure:
    """A figure without Plotly's default template: fonts and colours come from the page.

    Traces may be plain dictionaries, which nothing checks but the tests: checking costs more than all the rest.
    """
    axis: dict[str, Any] = {
        "gridcolor": "var(--line)", "zeroline": False, "linecolor": "var(--line-strong)", "automargin": True,
        "tickfont": {"size": 11},
    }  # fmt: skip
    axes = {name: axis | layout.pop(name, {}) for name in AXES if name in layout}
    common: dict[str, Any] = {
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--ink-soft)", "size": 12}, "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "hoverlabel": {"align": "left", "bgcolor": "var(--raised)", "bordercolor": "var(--line-strong)",
                       "font": {"color": "var(--ink)"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11},
                   "traceorder": "normal"},
        "uirevision": "keep",
    }  # fmt: skip
    data = [trace if isinstance(trace, dict) else trace.to_plotly_json() for trace in traces]
    return {"data": data, "layout": {**axes, **layout, **common}}


def frontier(points: Points, steps: Sequence[Step], last_number: int, direction: str) -> Figure:
    """Every scored trial by label and the staircase of the best score so far. x: trial number, y: score."""
    names = {role: inert(role) for role in {point.role for point in points.rows}}
    traces: list[Figure] = [
        {
            "type": "scatter",
            "x": [row.number for row in rows],
            "y": [row.score for row in rows],
            "customdata": [[row.number, names[row.role], hover_text(row.hypothesis)] for row in rows],
            "mode": "markers",
            "cliponaxis": False,
            "name": words(label),
            "marker": {"color": colour(label), "symbol": SYMBOLS[label], "size": 9 if label == Label.KEEP else 7,
                       "line": {"width": 1.5 if label == Label.DISCARD else 0}},
            "hovertemplate": TRIAL_HOVER,
        }
        for label in SYMBOLS
        if (rows := [point for point in points.rows if point.label == label])
    ]  # fmt: skip
    # A confirmation may end after that of a later trial: the line never runs back.
    reached = accumulate((step.number for step in steps), max)
    stairs = [*zip(reached, (step.score for step in steps), strict=True)]
    stairs = stairs[:: -(-len(stairs) // STAIRS)] + stairs[-1:] if len(stairs) > STAIRS else stairs
    stairs += [(last_number, steps[-1].score)] if steps else []
    best = {
        "type": "scatter",
        "x": [number for number, _ in stairs],
        "y": [value for _, value in stairs],
        "mode": "lines",
        "name": "best so far",
        "line": {"color": "var(--accent)", "width": 2, "shape": "hv"},
        "hoverinfo": "skip",
    }
    low, high, outside = score_range([row.score for row in points.rows], steps, direction)
    note = f"{outside} worse trials lie outside: double-click shows all" if outside > 1 else ""
    if outside == 1:
        note = "1 worse trial lies outside: double-click shows all"
    return figure_of(
        [best, *traces],
        xaxis={"title": {"text": "trial", "font": {"size": 11}}, "rangemode": "tozero"} | whole_ticks(last_number),
        yaxis={"tickformat": ".5~g"} | ({} if low is None else {"range": [low, high]}),
        annotations=[corner(note)] if note else [],
        hovermode="closest",
    )


def whole_ticks(largest: float) -> dict[str, Any]:
    """Ticks at whole numbers only: Plotly would write halves as doubled whole ones."""
    return {"tickformat": ",d"} | ({"dtick": 1, "tick0": 0} if largest <= FEW else {})


def clock(hours: float) -> tuple[str, float]:
    """The unit in which a time since launch is told where a search is so long, and how many of it make an hour."""
    return ("minutes", 60.0) if hours < SHORT_HOURS else ("hours", 1.0)


def _slots(bars: int) -> dict[str, Any]:
    """A category axis with room for at least SLOTS bars, filled from the top: two bars are no thicker than ten."""
    return {"showgrid": False, "fixedrange": True, "range": [bars - max(bars, SLOTS) - 0.5, bars - 0.5]}


def corner(note: str) -> dict[str, Any]:
    return {
        "text": note, "xref": "paper", "yref": "paper", "x": 1, "y": 1, "xanchor": "right", "yanchor": "top",
        "showarrow": False, "font": {"size": 11, "color": "var(--ink-soft)"},
    }  # fmt: skip


def score_range(
    scores: Sequence[float], steps: Sequence[Step], direction: str
) -> tuple[float | None, float | None, int]:
    """A y-range that shows the frontier and most trials, and how many bad outliers it leaves out.

    A few broken recipes score so badly that a full range would press everything else into a line.
    """
    if not scores or not steps:
        return None, None, 0
    lower = direction == Direction.LOWER
    ordered = sorted(scores, reverse=not lower)  # best first
    usual = ordered[int((len(ordered) - 1) * QUANTILE)]
    frontier_scores = [step.score for step in steps]
    good = min(ordered[0], *frontier_scores) if lower else max(ordered[0], *frontier_scores)
    bad = max(usual, *frontier_scores) if lower else min(usual, *frontier_scores)
    pad = 0.08 * abs(bad - good) or 0.01 * abs(good) or 1.0
    low, high = (good - pad, bad + 3 * pad) if lower else (bad - 3 * pad, good + pad)
    return low, high, sum(not low <= value <= high for value in scores)


def labels(counts: Sequence[LabelCount]) -> Figure:
    """What became of the trials: one bar per label, the most frequent on top."""
    rows = list(reversed(counts))
    bars = go.Bar(
        x=[row.trials for row in rows],
        y=[words(row.label) for row in rows],
        orientation="h",
        marker={"color": [colour(row.label) for row in rows]},
        text=[f"{row.trials} · {percent(row.share, 0).lstrip('+')}" for row in rows],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x} trials<extra></extra>",
    )
    top = max((row.trials for row in rows), default=1)
    return figure_of(
        [bars],
        xaxis={
            "range": [0, top * 1.45],
            "showticklabels": False,
            "showgrid": False,
            "showline": False,
            "fixedrange": True,
        },
        yaxis=_slots(len(rows)),
        bargap=0.35,
        showlegend=False,
    )


def roles(profiles: Sequence[RoleProfile]) -> Figure:
    """Labels by role: one stacked bar per role, in the order of the roster."""
    rows = [profile for profile in reversed(profiles) if sum(profile.labels.values())]
    names = [inert(words(profile.role), 40) for profile in rows]
    bars = [
        go.Bar(
            x=[profile.labels.get(label, 0) for profile in rows],
            y=names,
            orientation="h",
            name=words(label),
            marker={"color": colour(label), "pattern": {"shape": PATTERNS[label], "fillmode": "overlay", "size": 5,
                                                         "fgcolor": "var(--raised)", "solidity": 0.2}},
            hovertemplate="%{y}: %{x} " + words(label) + "<extra></extra>",
        )
        for label in Label
        if any(profile.labels.get(label) for profile in rows)
    ]  # fmt: skip
    return figure_of(
        bars,
        barmode="stack",
        xaxis={"rangemode": "tozero", "title": {"text": "finished trials", "font": {"size": 11}}}
        | whole_ticks(max((sum(profile.labels.values()) for profile in rows), default=0)),
        yaxis=_slots(len(rows)),
        bargap=0.35,
    )


def throughput(bins: Sequence[Bin]) -> Figure:
    """Finished trials per hour since launch, and below where the mean trial's seconds went."""
    end = bins[-1].hour + bins[-1].width if bins else 1
    unit, per = clock(end)
    at = f"{unit} %{{x:.2f}}"
    shape: Figure = {
        "type": "bar", "x": [row.hour * per for row in bins], "width": [row.width * per for row in bins], "offset": 0
    }  # fmt: skip
    edge = {"width": 1, "color": "var(--raised)"}
    rate = shape | {
        "y": [row.trials / row.width for row in bins],
        "name": "trials per hour",
        "marker": {"color": "var(--ink-soft)", "line": edge},
        "yaxis": "y2",
        "showlegend": False,
        "hovertemplate": at + ": %{y:.1f} trials per hour<extra></extra>",
    }
    split = [
        shape
        | {
            "y": [row.mean_seconds(phase) for row in bins],
            "name": phase,
            "marker": {"color": PHASE_COLOURS[phase], "line": edge},
            "hovertemplate": f"{at}: {phase} %{{y:.1f}} s per trial<extra></extra>",
        }
        for phase in SECONDS
    ]
    small = {"size": 11}
    return figure_of(
        [rate, *split],
        barmode="stack",
        xaxis={"title": {"text": f"{unit} since launch", "font": small}, "range": [0, end * per], "anchor": "y"}
        | whole_ticks(end * per),
        yaxis={"domain": [0, 0.46], "title": {"text": "seconds per trial", "font": small}, "rangemode": "tozero"},
        yaxis2={"domain": [0.56, 1], "title": {"text": "trials per hour", "font": small}, "rangemode": "tozero"},
    )


def sparkline(steps: Sequence[Step], last_number: int, width: float = 140, height: float = 30) -> str:
    """Points of an SVG polyline: the staircase of the best score over trial numbers, better always upwards or downwards
    as the score itself goes; empty when there is no step yet."""
    if not steps:
        return ""
    first, span = steps[0].number, max(1, last_number - steps[0].number)
    low, high = min(step.score for step in steps), max(step.score for step in steps)
    stairs: list[tuple[float, float]] = []
    for step in steps:
        x = (step.number - first) / span * (width - 4) + 2
        y = height - 4 - (step.score - low) / ((high - low) or 1) * (height - 8)
        if stairs:
            stairs.append((x, stairs[-1][1]))
        stairs.append((x, y))
    stairs.append((width - 2, stairs[-1][1]))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in stairs)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, Any]:
    """The same numbers as text, for people who cannot or do not want to read the plot."""
    return {"columns": list(columns), "rows": [[str(cell) for cell in row] for row in rows]}


def frontier_table(steps: Sequence[Step]) -> dict[str, Any]:
    unit, per = clock(steps[-1].hours if steps else 0.0)
    rows = [
        (step.number, words(step.role), score(step.score), f"{step.hours * per:.2f}")
        for step in reversed(steps[-LINES:])
    ]
    return table(("trial", "role", "best score", unit), rows)


def labels_table(counts: Sequence[LabelCount]) -> dict[str, Any]:
    rows = [(words(row.label), row.trials, percent(row.share, 1).lstrip("+")) for row in counts]
    return table(("label", "trials", "share"), rows)


def roles_table(profiles: Sequence[RoleProfile]) -> dict[str, Any]:
    present: list[Label] = [label for label in Label if any(profile.labels.get(label) for profile in profiles)]
    rows = [
        (
            words(row.role),
            row.trials,
            percent(row.keep_rate, 1).lstrip("+"),
            *(row.labels.get(name, 0) for name in present),
        )
        for row in profiles
    ]
    return table(("role", "trials", "keep rate", *(words(name) for name in present)), rows)


def throughput_table(bins: Sequence[Bin]) -> dict[str, Any]:
    unit, per = clock(bins[-1].hour + bins[-1].width if bins else 0.0)
    rows = [
        (f"{row.hour * per:.2f}", row.trials, *(seconds(row.mean_seconds(phase)) for phase in SECONDS))
        for row in reversed(bins)
    ]
    return table((f"from, {unit}", "trials", *(f"{phase} s" for phase in SECONDS)), rows)


def time_split(values: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Shares of queue, run, eval and log in a trial's wall-clock time, in percent of their sum; empty when unknown."""
    known = {phase: value for phase in SECONDS if (value := values.get(phase)) is not None}
    total = sum(known.values())
    if total <= 0:
        return []
    return [{"phase": phase, "seconds": value, "share": 100 * value / total} for phase, value in known.items()]
