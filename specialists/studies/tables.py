"""A report of a study as lines of text and as rows of a page. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from trials.formatting import NOTHING, part, places, signed

Report = Mapping[str, Any]


def lines(report: Report) -> list[str]:
    """For a terminal: a table of the arms, the test and its results; other documents as ``name: value``."""
    if "arms" not in report:
        return [f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in report.items()]
    done, wanted = report["campaigns"]["finished"], report["campaigns"]["wanted"]
    head = f"{report['study']}: {report['state']}, {done} of {wanted} campaigns finished"
    columns = ("arm", "n", "improvement % (quartiles)", "keeps", "trials/h", "efficiency", "effective clusters")
    table = [columns, *(_row(name, report["arms"][name]) for name in arm_order(report))]
    widths = [max(len(row[at]) for row in table) for at in range(len(columns))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return [head, *shown, report["test"]["words"], *(comparison(row) for row in report["comparisons"])]


def arm_order(report: Report) -> list[str]:
    """Arms in the order of the plan: JSON in the database keeps none."""
    return [report["test"]["arm"], *report["test"]["against"]]


def _row(name: str, arm: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        str(arm["n"]),
        band(arm["gain_pct"]),
        places(arm["keeps"]["median"], 1),
        places(arm["trials_per_hour"]["median"], 1),
        places(arm["parallel_efficiency"]["median"], 2),
        places(arm["diversity"]["effective_clusters"]["median"], 1),
    )


def band(values: Mapping[str, Any], digits: int = 2) -> str:
    """``+2.31 (+1.90 to +2.75)``: median and quartiles."""
    if values["median"] is None:
        return NOTHING
    low, middle, high = (signed(values[name], digits) for name in ("q1", "median", "q3"))
    return f"{middle} ({low} to {high})"


def comparison(row: Mapping[str, Any]) -> str:
    """One comparison in a line."""
    n = " and ".join(str(count) for count in row["n"])
    if row["p"] is None:
        return f"{row['arm']} against {row['against']}: n {n}, too few for a test"
    verdict = "greater" if row["significant"] else "not shown to be greater"
    return (
        f"{row['arm']} against {row['against']}: n {n}, medians differ by {signed(row['effect'])} percentage points, "
        f"wins {part(row['superiority'])} of pairs, p {row['p']:.4f}, corrected {row['p_holm']:.4f}: {verdict}"
    )


def label_columns(report: Report) -> list[str]:
    """Labels that came up in any arm, most frequent first."""
    counts: dict[str, int] = {}
    for arm in report["arms"].values():
        for label, count in arm["labels"].items():
            counts[label] = counts.get(label, 0) + count
    return sorted(counts, key=lambda label: (-counts[label], label))


def label_rows(report: Report, columns: Iterable[str]) -> list[dict[str, Any]]:
    """Share of each label by arm, in the order of ``columns``."""
    order = list(columns)
    found = []
    for name in arm_order(report):
        rates = report["arms"][name]["label_rates"]
        found.append({"arm": name, "rates": [rates.get(label, 0.0) if rates else None for label in order]})
    return found
