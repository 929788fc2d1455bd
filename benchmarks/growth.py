"""What grows with the number of trials, with the depth of a lineage and with the number of campaigns: nothing should.

Three searches of the toy environment through the whole site, on servers of its own (``benchmarks.toy_site``):
many trials, in windows; a line in which every trial is built on the one before; many campaigns at once, by weight.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import psycopg

from benchmarks import processes
from benchmarks.report import Report, Target, at_least, at_most, run
from benchmarks.toy_site import ToySite, spent, until

SIZES = (10_000, 100_000)
QUICK_TRIALS, QUICK_DEPTH, QUICK_CAMPAIGNS, QUICK_EACH = 1_000, 400, 12, 6
TRIALS, DEPTH, CAMPAIGNS, EACH = 10_000, 5_000, 50, 20
WIDTH = 1_000
"""Trials of a window, and before the first of them: a quarter of the search where that is less. So what a database
and its workers take once, and steps in which files grow, count for little."""
WORKERS, SLOTS = 2, 4
FLAT, MEMORY, READS = 1.1, 1.05, 1.5
WEIGHTS = (1, 3)
TICK_MS, PAGE_MS = 10.0, 60.0
"""CPU of the tick for each campaign, and of the page of workers."""


@dataclass(frozen=True)
class Look:
    """Of a running search so far: trials; wall-clock and CPU seconds; bytes of the database; MB of the workers."""

    trials: int
    wall: float
    cpu: float
    database: int
    memory: float


def resident(roots: Collection[int]) -> float:
    """MB of these processes and all below them, pages that are shared counted once in all."""
    kilobytes = 0
    for pid in processes.below(roots, processes.table()):
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kilobytes += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return kilobytes / 1024


class Search:
    """A campaign that is launched on these workers, looked at before its first trial and when it has come so far."""

    def __init__(self, site: ToySite, pids: list[int], trials: int, slots: int, **launch: Any) -> None:
        self.site, self.pids = site, pids
        with site.connection() as connection:
            self.looks = [self._look(connection, 0)]
        [self.campaign] = site.launch(site.redis, trials=trials, slots=slots, **launch)

    def _look(self, connection: psycopg.Connection[Any], reached: int) -> Look:
        look = time.monotonic(), spent(self.pids)
        [stored] = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        return Look(reached, *look, int(stored), resident(self.pids[:1]))

    def at(self, trials: int) -> Look:
        """As soon as so many are recorded, and a few more may be."""
        with self.site.connection() as connection:
            self.looks.append(self._look(connection, self.site.reached(connection, self.campaign, trials)))
        return self.looks[-1]

    def window(self, size: int, width: int) -> dict[str, Any]:
        """So many trials up to this one, as a row. A short search may be over at the first of two looks: one more."""
        self.at(size - width)
        after = self.at(size)
        before = next(look for look in reversed(self.looks) if look.trials < after.trials)
        done = after.trials - before.trials
        return {
            "size": size, "count": done, "wall_ms": round(1000 * (after.wall - before.wall) / done, 2),
            "cpu_ms": round(1000 * (after.cpu - before.cpu) / done, 2),
            "database_kb": round((after.database - before.database) / done / 1000, 2),
            "workers_mb": round(after.memory, 1), "load_average": round(os.getloadavg()[0], 1),
        }  # fmt: skip


def windows(trials: int) -> list[tuple[int, int]]:
    """Of a search of so many: where each window ends, and how wide they are, the same for all."""
    width = max(1, min(WIDTH, trials // 4))
    ends = {min(2 * width, trials), *(size for size in SIZES if 2 * width < size < trials), trials}
    return [(end, width) for end in sorted(ends)]


def many(report: Report, site: ToySite, trials: int) -> None:
    """A search of so many trials on the start."""
    with site.workers(site.redis, WORKERS) as pids:
        search = Search(site, pids, trials=trials, slots=SLOTS)
        rows = [search.window(*window) for window in windows(trials)]
        site.ended([search.campaign])
    report.rows += [{"what": "trials", **row} for row in rows]
    _flat(report, "trials", rows)
    _whole(report, site, search.campaign, "trials")


def _flat(report: Report, what: str, rows: list[dict[str, Any]]) -> None:
    first, last = rows[0], rows[-1]
    for name, most in (("cpu_ms", FLAT), ("database_kb", FLAT), ("workers_mb", MEMORY)):
        ratio = at_most(round(last[name] / max(first[name], 1e-9), 3), most)
        report.targets[f"{what}_{name}"] = _full(report, ratio)


def _whole(report: Report, site: ToySite, campaign: int, what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.child("-m", "benchmarks.growth_checks", "whole", str(campaign)))
    report.rows.append({"what": f"{what}, whole record", **_rounded(found)})
    unsound = len(found["violations"]) + (not found["verified"])
    report.targets[f"{what}_unsound"] = at_most(unsound, 0)
    return found


def _rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}


def deep(report: Report, site: ToySite, depth: int) -> None:
    """Two lines, one ten times the other: recording, reading about the deepest trial, and the whole record."""
    lengths, chosen = (depth // 10, depth), list[int]()
    with site.workers(site.redis, 1) as pids:
        for length in lengths:
            search = Search(site, pids, trials=length, slots=1, proposer="deep")
            chosen.append(search.campaign)
            rows = [search.window(*window) for window in windows(length)] if length == depth else []
            site.ended(chosen[-1:])
    whole = [_whole(report, site, one, f"line of {length}") for one, length in zip(chosen, lengths, strict=True)]
    report.rows += [{"what": "line", **row} for row in rows]
    _flat(report, "line", rows)
    for name in ("export", "verify", "report"):
        ratio = at_most(round(whole[1][name] / whole[0][name], 3), READS)
        report.targets[f"line_{name}"] = _full(report, ratio)
    numbers = [str(depth // 10), str(depth)]
    words = ("-m", "benchmarks.growth_checks", "depth", str(chosen[-1]), *numbers)
    shallow, deepest = (found := json.loads(site.child(*words)))[numbers[0]], found[numbers[1]]
    for name, cost in deepest.items():
        row = {"what": f"reading: {name}", "shallow_ms": round(shallow[name], 2), "deep_ms": round(cost, 2)}
        report.rows.append(row | {"ratio": round(cost / shallow[name], 2)})
    worst = max(cost / shallow[name] for name, cost in deepest.items())
    report.targets["line_reads"] = _full(report, at_most(round(worst, 3), READS))


_STANDS = """
SELECT c.id, c.trial_count, coalesce(t.used, 0) FROM trials_campaign AS c
  LEFT JOIN trials_turn AS t ON t.campaign_id = c.id AND t.resource = 'cpu' WHERE c.id = ANY(%s)
"""


def crowd(report: Report, site: ToySite, campaigns: int, each: int) -> None:
    """So many campaigns at once on two workers until they have so many trials each on average."""
    weights = [WEIGHTS[number % len(WEIGHTS)] for number in range(campaigns)]
    with site.workers(site.redis, WORKERS) as pids, site.connection() as connection:
        chosen = site.launch(site.redis, trials=each * campaigns, slots=SLOTS, weights=weights)

        def stands() -> dict[int, tuple[int, float]]:
            """Campaign -> trials, device seconds."""
            return {pk: (trials, used) for pk, trials, used in connection.execute(_STANDS, [chosen])}

        def trials(found: dict[int, tuple[int, float]]) -> int:
            return sum(count for count, _ in found.values())

        began = until(lambda: found if min((found := stands()).values())[0] > 0 else None, "a trial of each")
        wall, cpu = time.monotonic(), spent(pids)
        wanted = trials(began) + each * campaigns
        ended = until(lambda: found if trials(found := stands()) >= wanted else None, "many campaigns")
        wall, cpu = time.monotonic() - wall, spent(pids) - cpu
    done = trials(ended) - trials(began)
    gained = {
        weight: [
            (ended[pk][0] - began[pk][0], ended[pk][1] - began[pk][1])
            for pk, own in zip(chosen, weights, strict=True) if own == weight
        ]
        for weight in WEIGHTS
    }  # fmt: skip
    asked = json.loads(site.child("-m", "benchmarks.growth_checks", "crowd"))
    report.rows.append({
        "what": "campaigns", "campaigns": campaigns, "count": done, "wall_ms": round(1000 * wall / done, 2),
        "cpu_ms": round(1000 * cpu / done, 2), "load_average": round(os.getloadavg()[0], 1),
        **{f"weight_{weight}": _spread(some) for weight, some in gained.items()},
        **{f"{name}_ms": round(value, 1) for name, value in asked.items()},
    })  # fmt: skip
    _fair(report, gained)
    report.targets["tick_ms_per_campaign"] = _full(report, at_most(round(asked["tick"] / campaigns, 2), TICK_MS))
    report.targets["workers_page_ms"] = _full(report, at_most(round(asked["workers"], 1), PAGE_MS))


def _spread(gained: Sequence[tuple[int, float]]) -> str:
    counts, seconds = zip(*gained, strict=True)
    return (
        f"{min(counts)} to {max(counts)} trials, mean {mean(counts):.1f}; "
        f"{min(seconds):.2f} to {max(seconds):.2f} s, mean {mean(seconds):.2f}"
    )


def _fair(report: Report, gained: Mapping[int, Sequence[tuple[int, float]]]) -> None:
    """What is shared is seconds of evaluators: who has least of what its weight earns, and whether weights count."""
    earned = [seconds / weight for weight, some in gained.items() for _, seconds in some]
    report.targets["campaigns_least_share"] = _full(report, at_least(round(min(earned) / mean(earned), 2), 0.5))
    light, heavy = (mean(seconds for _, seconds in gained[weight]) / weight for weight in WEIGHTS)
    report.targets["campaigns_by_weight"] = _full(report, at_least(round(heavy / light, 2), 0.8))


def _full(report: Report, target: Target) -> Target:
    return Target(target.value, target.target, None, target.bound) if report.quick else target


def measure(report: Report) -> None:
    """Part by part; each that is not wanted is 0."""
    trials, depth, campaigns = (report.options[name] for name in ("trials", "depth", "campaigns"))
    each = EACH
    if report.quick:
        trials, depth, campaigns, each = QUICK_TRIALS, QUICK_DEPTH, QUICK_CAMPAIGNS, QUICK_EACH
    with (
        tempfile.TemporaryDirectory(prefix="ar-bench-", ignore_cleanup_errors=True) as name,
        ToySite(Path(name), rabbitmq=False) as site,
    ):
        if trials:
            many(report, site, trials)
        if depth:
            deep(report, site, depth)
        if campaigns:
            crowd(report, site, campaigns, each)


OPTIONS = {
    "trials": {
        "type": int,
        "default": TRIALS,
        "help": "of the search on the start; windows of 1,000 end at 2,000, 10,000, 100,000 and the last",
    },
    "depth": {"type": int, "default": DEPTH, "help": "of the line"},
    "campaigns": {"type": int, "default": CAMPAIGNS, "help": "at once"},
}
if __name__ == "__main__":
    sys.exit(run("growth", measure, options=OPTIONS))
