"""What every benchmark prints and keeps: rows, and targets that hold, fail, or need the full size."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Target:
    """A bound on a figure: ``value`` against ``target``. ``ok`` is None when the run was too small to say."""

    value: float | None
    target: float
    ok: bool | None
    bound: str = "at most"


def at_most(value: float, target: float) -> Target:
    """Holds when the value does not exceed the target."""
    return Target(value, target, value <= target)


def at_least(value: float, target: float) -> Target:
    """Holds when the value does not fall short of the target."""
    return Target(value, target, value >= target, "at least")


@dataclass
class Report:
    """One run: rows of plain values, targets by name, notes on the machine."""

    name: str
    quick: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    targets: dict[str, Target] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The document that is kept and printed."""
        machine = {"python": platform.python_version(), "system": platform.platform()}
        targets = {
            name: {"value": target.value, "target": target.target, "ok": target.ok}
            for name, target in self.targets.items()
        }
        return {"benchmark": self.name, "quick": self.quick, "machine": machine, "rows": self.rows, "targets": targets}


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Median, quartiles and number of repeats."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3), "repeats": len(values)}


def run(
    name: str,
    measure: Callable[[Report], None],
    arguments: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> int:
    """Parse the command line, measure, print and keep. Returns the exit status: 0 unless a target is missed.

    options: further ones of this benchmark by name, with what argparse is told of them.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, under ten minutes on two cores")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    for option, told in (options or {}).items():
        parser.add_argument(f"--{option}", **told)
    chosen = parser.parse_args(arguments)
    report = Report(name, chosen.quick, options=vars(chosen))
    measure(report)
    document = report.as_json()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if chosen.json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        _table(report)
    return int(any(target.ok is False for target in report.targets.values()))


def _table(report: Report) -> None:
    for row in report.rows:
        sys.stdout.write("  ".join(f"{name} {value}" for name, value in row.items()) + "\n")
    for name, target in report.targets.items():
        verdict = {True: "ok", False: "MISSED", None: "needs the full size"}[target.ok]
        sys.stdout.write(f"target {name}: {target.value} ({target.bound} {target.target}) {verdict}\n")
