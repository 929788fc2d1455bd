"""Figures of the explorer: plain numbers in, Plotly out; pure. See ``trials.charts`` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from trials import charts
from trials.analytics import SECONDS, Bin, Step
from trials.charts import (
    PATTERNS,
    PHASE_COLOURS,
    SYMBOLS,
    Figure,
    clock,
    colour,
    corner,
    figure_of,
    hover_text,
    inert,
    score_range,
    table,
    whole_ticks,
)
from trials.explorer.figures import Density, FrontRow, Plane, Point, Stretch
from trials.formatting import percent, places, score, seconds, whole, words
from trials.vocab import FAILED_LABELS, Label

SMALL = {"size": 11}
MANY, MOST_STAIRS = 60, 400
#: Density from one trial to the fullest cell, by powers of ten: most cells of a search hold little.
SHADES = [
    [0.0, "var(--density-1)"], [0.01, "var(--density-2)"], [0.1, "var(--density-3)"], [1.0, "var(--density-4)"],
]  # fmt: skip
HOVER = (
    "<b>trial %{customdata[0]}</b> · %{customdata[1]}<br>%{customdata[3]}<br>%{customdata[2]}<extra></extra>"
)  # fmt: skip
FRONT_AXES = {
    "bytes": "artifact, bytes", "seconds": "run and eval, device seconds", "usd": "paid for the proposal, US dollars",
}  # fmt: skip

FRONT_SHOWS: dict[str, Callable[[float | None], str]] = {
    "bytes": whole,
    "seconds": seconds,
    "usd": partial(places, digits=4),
}


def frontier(found: Plane, axis: str, last: float, direction: str, noise: float | None, keep_name: str) -> Figure:
    """All trials (as points, or as a density with the telling ones), best so far, and the noise around it.

    last: the end of the axis, a trial's number or hours.
    """
    where = {step.number: step.hours for step in found.steps}
    unit, per = clock(last) if axis == "time" else ("trial", 1.0)
    title = f"{unit} since launch" if axis == "time" else unit
    stairs = _stairs(found.steps, axis, last, per)
    traces: list[Figure] = []  # plain dictionaries: Plotly's own classes would check every point
    if noise is not None and stairs:
        traces += _band(stairs, noise)
    traces.append({
        "type": "scatter", "x": [x for x, _ in stairs], "y": [y for _, y in stairs], "mode": "lines",
        "name": "best so far", "hoverinfo": "skip", "line": {"color": "var(--accent)", "width": 2, "shape": "hv"},
    })  # fmt: skip
    for label in SYMBOLS:
        rows = [point for point in found.points if point.standing == label]
        if rows:
            large = label == Label.KEEP and len(rows) < MANY
            traces.append({
                "type": "scatter",
                "x": [row.number if axis == "trial" else round(where.get(row.number, row.hours) * per, 4)
                      for row in rows],
                "y": [row.score for row in rows],
                "customdata": [_told(row) for row in rows],
                "mode": "markers", "cliponaxis": False, "hovertemplate": HOVER,
                "name": keep_name if label == Label.KEEP else words(label),
                "marker": {"color": colour(label), "symbol": SYMBOLS[label], "size": 9 if large else 7,
                           "line": {"width": 1.5 if label == Label.DISCARD else 0}},
            })  # fmt: skip
    low, high, outside = _range(found, direction)
    note = f"{whole(outside)} worse outside: double-click shows all points" if outside else ""
    figure = figure_of(
        [],
        xaxis={"title": {"text": title, "font": SMALL}, "rangemode": "tozero"}
        | (whole_ticks(last) if axis == "trial" else {}),
        yaxis={"tickformat": ".5~g"} | ({} if low is None else {"range": [low, high]}),
        annotations=[corner(note)] if note else [],
        hovermode="closest",
    )
    figure["data"] = traces if found.density is None else [_heat(found.density, unit, per), *traces]
    return figure


def _told(row: Point | FrontRow) -> list[Any]:
    """What is said when a trial is pointed at; its number leads to its page."""
    return [row.number, inert(words(row.role)), hover_text(row.hypothesis), score(row.score)]


def _stairs(steps: Sequence[Step], axis: str, last: float, per: float) -> list[tuple[float, float]]:
    """The best score so far, thinned where no eye could tell.

    A confirmation may end after that of a later trial, and the line never runs back.
    """
    reached = accumulate((step.number if axis == "trial" else round(step.hours * per, 4) for step in steps), max)
    found = [*zip(reached, (step.score for step in steps), strict=True)]
    found = found[:: -(-len(found) // MOST_STAIRS)] + found[-1:] if len(found) > MOST_STAIRS else found
    return [*found, (max(last * per, found[-1][0]), found[-1][1])] if found else []


def _heat(found: Density, unit: str, per: float) -> Figure:
    """A plain dictionary: Plotly's own classes would check every cell."""
    at = f"{unit} %{{x:.{0 if unit == 'trial' else 1}f}}"
    return {
        "type": "heatmap", "name": "all trials", "showscale": False, "colorscale": SHADES, "zmin": 0,
        "z": [[count or None for count in row] for row in found.counts],
        "x0": found.x0 * per, "dx": found.dx * per, "y0": found.y0, "dy": found.dy,
        "hovertemplate": f"%{{z}} trials around {at}, %{{y:.5g}}<extra></extra>",
    }  # fmt: skip


def _band(stairs: Sequence[tuple[float, float]], noise: float) -> list[Figure]:
    """One standard deviation of a single score to both sides of the best."""
    line = {"width": 0, "shape": "hv"}
    plain = {"type": "scatter", "x": [x for x, _ in stairs], "mode": "lines", "hoverinfo": "skip", "line": line}
    return [
        plain | {"y": [y - noise for _, y in stairs], "showlegend": False},
        plain | {"y": [y + noise for _, y in stairs], "fill": "tonexty", "fillcolor": "var(--band)",
                 "name": "± 1 sd of one score"},
    ]  # fmt: skip


def _range(found: Plane, direction: str) -> tuple[float | None, float | None, int]:
    """What is shown of the scores, and how many trials are worse than that."""
    if found.density is None:
        return score_range([point.score for point in found.points], found.steps, direction)
    grid = found.density
    ends = [grid.y0 - grid.dy / 2, grid.y0 + (len(grid.counts) - 0.5) * grid.dy, *(step.score for step in found.steps)]
    pad = 0.03 * (max(ends) - min(ends))
    return min(ends) - pad, max(ends) + pad, grid.outside


def frontier_table(found: Plane) -> dict[str, Any]:
    return charts.frontier_table(found.steps)


def front(rows: Sequence[FrontRow], axis: str, start: float | None) -> Figure:
    """The front and its steps: nothing measured lies to the left of and beyond it."""
    points = go.Scatter(
        x=[row.x for row in rows],
        y=[row.score for row in rows],
        customdata=[_told(row) for row in rows],
        mode="lines+markers", cliponaxis=False, name="front", hovertemplate=HOVER.replace("<br>%{customdata[2]}",
            " at %{x:,.6~g}<br>%{customdata[2]}"),
        line={"color": "var(--accent)", "shape": "hv", "width": 1.5},
        marker={"color": [colour(row.standing) for row in rows], "size": 8,
                "symbol": [SYMBOLS[Label(row.standing)] for row in rows]},
    )  # fmt: skip
    low, high = _around([row.score for row in rows])
    inside = start is not None and low <= start <= high
    lines = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": start, "y1": start,
         "line": {"color": "var(--line-strong)", "dash": "dot", "width": 1}}
    ] if inside else []  # fmt: skip
    outside = bool(rows) and start is not None and not inside
    return figure_of(
        [points],
        xaxis={"title": {"text": FRONT_AXES[axis], "font": SMALL}},
        yaxis={"tickformat": ".5~g"} | ({"range": [low, high]} if rows else {}),
        shapes=lines,
        annotations=[corner(f"the start, {score(start)}, is outside")] if outside else [],
        showlegend=False,
        hovermode="closest",
    )


def _around(scores: Sequence[float]) -> tuple[float, float]:
    """A range with room around these scores: a start far away must not press them into a line."""
    if not scores:
        return 0.0, 1.0
    low, high = min(scores), max(scores)
    pad = 0.08 * (high - low) or 0.01 * abs(high) or 1.0
    return low - pad, high + pad


def front_table(rows: Sequence[FrontRow], axis: str) -> dict[str, Any]:
    shown = FRONT_SHOWS[axis]
    return table(
        ("trial", FRONT_AXES[axis], "score", "role", "counts as"),
        [(row.number, shown(row.x), score(row.score), words(row.role), words(row.standing)) for row in rows],
    )


def outcomes(rows: Sequence[Stretch]) -> Figure:
    """What became of the trials over time: counts per stretch, stacked by label."""
    present = [label for label in Label if any(row.labels.get(label) for row in rows)]
    end = rows[-1].hour + rows[-1].width if rows else 1
    unit, per = clock(end)
    bars = [
        go.Bar(
            x=[row.hour * per for row in rows], width=[row.width * per for row in rows], offset=0,
            y=[row.labels.get(label, 0) for row in rows], name=words(label),
            marker={"color": colour(label), "pattern": {"shape": PATTERNS[label], "fillmode": "overlay", "size": 5,
                    "fgcolor": "var(--raised)", "solidity": 0.2}},
            hovertemplate=f"{unit} %{{x:.2f}}: %{{y}} {words(label)}<extra></extra>",
        )
        for label in present
    ]  # fmt: skip
    most = max((sum(row.labels.values()) for row in rows), default=0)
    return figure_of(
        bars,
        barmode="stack",
        bargap=0,
        xaxis={"title": {"text": f"{unit} since launch", "font": SMALL}, "range": [0, end * per]},
        yaxis={"title": {"text": "finished trials", "font": SMALL}, "rangemode": "tozero"} | whole_ticks(most),
    )


def outcomes_table(rows: Sequence[Stretch]) -> dict[str, Any]:
    present: list[Label] = [label for label in Label if any(row.labels.get(label) for row in rows)]
    unit, per = clock(rows[-1].hour + rows[-1].width if rows else 0.0)
    lines = [(f"{row.hour * per:.2f}", *(row.labels.get(label, 0) for label in present)) for row in reversed(rows)]
    return table((f"from, {unit}", *(words(label) for label in present)), lines)


def misses(levels: Mapping[str, Mapping[int, int]]) -> Figure:
    """How far beyond its limit a miss was, by label, on a scale of half powers of ten."""
    most = sum(sum(row.values()) for row in levels.values())
    span = range(
        min((min(row) for row in levels.values()), default=0),
        max((max(row) for row in levels.values()), default=-1) + 1,
    )
    bars = [
        go.Bar(
            x=[_share(level) for level in span], y=[levels[label].get(level, 0) for level in span], name=words(label),
            marker={"color": colour(label), "pattern": {"shape": PATTERNS[label], "fillmode": "overlay", "size": 5,
                    "fgcolor": "var(--raised)", "solidity": 0.2}},
            hovertemplate="%{x} over: %{y} " + words(label) + "<extra></extra>",
        )
        for label in FAILED_LABELS
        if label in levels
    ]  # fmt: skip
    return figure_of(
        bars,
        barmode="stack",
        bargap=0.1,
        xaxis={"title": {"text": "over the limit, by at least", "font": SMALL}, "type": "category", "showgrid": False},
        yaxis={"title": {"text": "trials", "font": SMALL}, "rangemode": "tozero"} | whole_ticks(most),
    )


def _share(level: int) -> str:
    """What a level begins at: "1 %", "3.2 %"."""
    return "less" if level <= -12 else f"{100 * 10 ** (level / 2):.2g} %"


def misses_table(levels: Mapping[str, Mapping[int, int]]) -> dict[str, Any]:
    lines = [
        (words(label), _share(level), count) for label, row in levels.items() for level, count in sorted(row.items())
    ]
    return table(("label", "over by at least", "trials"), lines)


def throughput(bins: Sequence[Bin], shares: Sequence[float | None]) -> Figure:
    """Trials per hour, share of the slots' time that was used, and where the mean trial's seconds went."""
    end = bins[-1].hour + bins[-1].width if bins else 1
    unit, per = clock(end)
    at = f"{unit} %{{x:.2f}}"
    shape: Figure = {
        "type": "bar", "x": [row.hour * per for row in bins], "width": [row.width * per for row in bins], "offset": 0
    }  # fmt: skip
    edge = {"width": 1, "color": "var(--raised)"} if len(bins) < 40 else {"width": 0}
    rate = shape | {
        "y": [row.trials / row.width for row in bins], "yaxis": "y3", "showlegend": False, "name": "trials per hour",
        "marker": {"color": "var(--ink-soft)", "line": edge},
        "hovertemplate": at + ": %{y:.1f} trials per hour<extra></extra>",
    }  # fmt: skip
    used = shape | {
        "y": list(shares), "yaxis": "y2", "showlegend": False, "name": "efficiency",
        "marker": {"color": "var(--accent)", "line": edge},
        "hovertemplate": at + ": %{y:.1%} of the slots' time<extra></extra>",
    }  # fmt: skip
    split = [
        shape | {
            "y": [row.mean_seconds(phase) for row in bins], "name": phase,
            "marker": {"color": PHASE_COLOURS[phase], "line": edge},
            "hovertemplate": f"{at}: {phase} %{{y:.1f}} s per trial<extra></extra>",
        }
        for phase in SECONDS
    ]  # fmt: skip
    return figure_of(
        [rate, used, *split],
        barmode="stack",
        xaxis={"title": {"text": f"{unit} since launch", "font": SMALL}, "range": [0, end * per], "anchor": "y"},
        yaxis={"domain": [0, 0.3], "title": {"text": "s per trial", "font": SMALL}, "rangemode": "tozero"},
        yaxis2={"domain": [0.36, 0.62], "title": {"text": "efficiency", "font": SMALL}, "rangemode": "tozero",
                "tickformat": ".0%"},
        yaxis3={"domain": [0.68, 1], "title": {"text": "trials / h", "font": SMALL}, "rangemode": "tozero"},
    )  # fmt: skip


def throughput_table(bins: Sequence[Bin], shares: Sequence[float | None]) -> dict[str, Any]:
    unit, per = clock(bins[-1].hour + bins[-1].width if bins else 0.0)
    lines = [
        (
            f"{row.hour * per:.2f}",
            row.trials,
            percent(share, 1).lstrip("+"),
            *(seconds(row.mean_seconds(p)) for p in SECONDS),
        )
        for row, share in zip(reversed(bins), reversed(shares), strict=True)
    ]
    return table((f"from, {unit}", "trials", "efficiency", *(f"{phase} s" for phase in SECONDS)), lines)
