"""Bands of a study as Plotly figures: pure, colours by the page (see ``trials.charts``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from trials.charts import Figure, figure_of, inert, table, whole_ticks
from trials.formatting import signed

#: Dash of each arm's line, in the order of the plan: colour is never the only difference.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
COLOURS = 6

Band = Mapping[str, Sequence[Any]]


def best_so_far(bands: Mapping[str, Band], *, x_title: str, whole: bool) -> Figure:
    """Median improvement by arm with its quartiles. x: trials or hours; y: percent of the start's score."""
    traces: list[Any] = []
    for at, (name, band) in enumerate(bands.items()):
        colour, soft = f"var(--arm-{at % COLOURS + 1})", f"var(--arm-{at % COLOURS + 1}-soft)"
        shape = {"x": list(band["x"]), "mode": "lines", "legendgroup": str(at), "name": inert(name, 40)}
        hidden = {"line": {"width": 0, "color": colour, "shape": "hv"}, "hoverinfo": "skip", "showlegend": False}
        traces += [
            go.Scatter(**shape, **hidden, y=list(band["q1"])),
            go.Scatter(**shape, **hidden, y=list(band["q3"]), fill="tonexty", fillcolor=soft),
            go.Scatter(
                **shape,
                y=list(band["median"]),
                customdata=[list(row) for row in zip(band["n"], band["q1"], band["q3"], strict=True)],
                line={"color": colour, "width": 2, "shape": "hv", "dash": DASHES[at % len(DASHES)]},
                hovertemplate="%{y:+.3f} % (%{customdata[1]:+.3f} to %{customdata[2]:+.3f}), n %{customdata[0]}",
            ),
        ]
    last = max((band["x"][-1] for band in bands.values() if band["x"]), default=1)
    ticks = whole_ticks(last) if whole else {}
    return figure_of(
        traces,
        xaxis={"title": {"text": x_title, "font": {"size": 11}}, "range": [0, last]} | ticks,
        yaxis={"title": {"text": "improvement, %", "font": {"size": 11}}, "rangemode": "tozero"},
        hovermode="x unified",
    )


def best_so_far_table(bands: Mapping[str, Band], x_title: str, digits: int) -> dict[str, Any]:
    """The last point of each arm and those at a quarter, half and three quarters of the way."""
    rows = []
    for name, band in bands.items():
        last = len(band["x"]) - 1
        for at in sorted({last * part // 4 for part in range(1, 5)}) if last >= 0 else []:
            shown = [signed(band[key][at], 3) for key in ("q1", "median", "q3")]
            rows.append((name, f"{band['x'][at]:.{digits}f}", band["n"][at], *shown))
    return table(("arm", x_title, "n", "lower quartile %", "median %", "upper quartile %"), rows)
