"""Trials per second and CPU per trial of a toy environment: what the way of a trial costs when its measurement is free.

Every trial goes the whole way: decided, proposed, submitted, claimed, measured, posted, judged, recorded, all durable.
Beside it, in the same run and on the same servers: round trips of a bare Celery task that does nothing, one after the
other, and Optuna's ask and tell on the same PostgreSQL.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import Report, Target, at_most, run
from benchmarks.rivals import HERE, OPTUNA
from benchmarks.servers import Server
from benchmarks.toy_site import Celery, Cost, ToySite, spent

WORKERS = (1, 2, 4)
TRIALS, QUICK_TRIALS, WARM = 1_000, 120, 20
TRIPS, QUICK_TRIPS = 1_000, 200
OVER_BARE, OVER_OPTUNA = 5.0, 0.5


def round_trip(site: ToySite, broker: Server, count: int) -> Cost:
    """Of a bare Celery task that does nothing, with one worker process. CPU of worker, sender and broker."""
    worker = ["-A", "benchmarks.bare_celery", "worker", "--loglevel", "WARNING", "-Q", "bare", "-c", "1"]
    with Celery(worker, site.environment(broker), site.folder / "bare.log") as pid:
        assert broker.process is not None, "started"
        site.child("-m", "benchmarks.bare_celery", "5", broker=broker)  # the worker is up
        before = spent(pids := [pid, broker.process.pid])
        wall, sender = map(float, site.child("-m", "benchmarks.bare_celery", str(count), broker=broker).split())
        return Cost(count, 1000 * wall / count, 1000 * (spent(pids) - before + sender) / count)


def trial(site: ToySite, broker: Server, workers: int, trials: int) -> Cost:
    """Of one campaign, from its first trials to its last record."""
    with site.workers(broker, workers) as pids:
        [campaign] = site.launch(broker, trials=trials, slots=2 * workers)
        found = site.cost(campaign, WARM, trials, pids)
        site.ended([campaign])
    return found


def ask_and_tell(site: ToySite, processes: int, trials: int, sampler: str) -> Cost:
    """Of Optuna with so many processes on one study. CPU of them and the database."""
    words = [OPTUNA.python(), HERE / "run_optuna.py", site.database.url, f"{sampler}-{processes}"]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON"))}
    command, each = [*map(str, words), str(trials // processes), sampler], list[subprocess.Popen[str]]()
    try:
        for _ in range(processes):
            each.append(subprocess.Popen(command, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            _said(each[-1], "ready")  # one after the other: the first one makes the tables
        assert site.database.process is not None, "started"
        pids = [site.database.process.pid, *(one.pid for one in each)]
        began, cpu = time.monotonic(), spent(pids)
        for one in each:
            _go(one)
        for one in each:
            _said(one, "done")
        wall, cpu, done = time.monotonic() - began, spent(pids) - cpu, trials // processes * processes
        return Cost(done, 1000 * wall / done, 1000 * cpu / done)
    finally:
        for one in each:
            one.kill()
            one.wait()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _said(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    if (said := process.stdout.readline().strip()) != word:
        raise RuntimeError(f"Optuna said {said!r}, expected {word!r}")


def row(what: str, cost: Cost, **more: Any) -> dict[str, Any]:
    """One line of the report, with the load at its end."""
    figures = {
        "per_s": round(1000 / cost.wall_ms, 1),
        "wall_ms": round(cost.wall_ms, 2),
        "cpu_ms": round(cost.cpu_ms, 2),
    }
    load = {"load_average": round(os.getloadavg()[0], 1)}
    return {"what": what, **more, "count": cost.trials, **figures, **load}


def measure(report: Report) -> None:
    """Broker by broker. What is compared is measured side by side, because other work on a machine comes and goes."""
    with (
        tempfile.TemporaryDirectory(prefix="ar-bench-", ignore_cleanup_errors=True) as name,
        ToySite(Path(name)) as site,
    ):
        assert site.rabbitmq is not None, "asked for"
        rivals: list[float] = []
        ours = [
            _broker(report, site, site.redis, rivals),
            _broker(report, site, site.rabbitmq, None),
        ]
        trials = QUICK_TRIALS if report.quick else TRIALS
        report.rows.append(row("Optuna", ask_and_tell(site, 1, trials, "random"), sampler="random", workers=1))
    report.targets["over_optuna"] = _full(report, at_most(round(min(ours) / min(rivals), 2), OVER_OPTUNA))


def _broker(report: Report, site: ToySite, broker: Server, rivals: list[float] | None) -> float:
    """Rows and target with this broker; returns the shortest time of a trial, in milliseconds. ``rivals``: gets that of
    Optuna, where it is asked beside."""
    trips, trials = (QUICK_TRIPS, QUICK_TRIALS) if report.quick else (TRIPS, TRIALS)
    walls, ratios = [], []
    before = _trips(report, site, broker, trips)
    for workers in WORKERS:
        found = trial(site, broker, workers, trials)
        after = _trips(report, site, broker, trips)
        walls.append(found.wall_ms)
        ratios.append(round(2 * found.wall_ms / (before + after), 2))
        report.rows.append(row("trial", found, broker=broker.name, workers=workers, round_trips=ratios[-1]))
        before = after
        if rivals is not None:
            told = ask_and_tell(site, workers, trials, "default")
            rivals.append(told.wall_ms)
            report.rows.append(row("Optuna", told, sampler="default", workers=workers))
    report.targets[f"round_trips_{broker.name.lower()}"] = _full(report, at_most(min(ratios), OVER_BARE))
    return min(walls)


def _trips(report: Report, site: ToySite, broker: Server, trips: int) -> float:
    found = round_trip(site, broker, trips)
    report.rows.append(row("round trip", found, broker=broker.name, workers=1))
    return found.wall_ms


def _full(report: Report, target: Target) -> Target:
    return Target(target.value, target.target, None) if report.quick else target


if __name__ == "__main__":
    sys.exit(run("throughput", measure))
