"""Trials per second and CPU per trial of a toy environment: what the way of a trial costs when its measurement is free.

Every trial goes the whole way: decided, proposed, submitted, claimed, measured, posted, judged, recorded, all durable.
Beside it, in the same run and on the same servers: messages of bare Celery tasks that do nothing, one after the other,
and Optuna's ask and tell on the same PostgreSQL.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.report import Report, Target, at_most, run
from benchmarks.rivals import HERE, OPTUNA
from benchmarks.servers import Database, RabbitMQ, Redis, Server

WORKERS = (1, 2, 4)
TRIALS, QUICK_TRIALS, WARM = 400, 60, 10
MESSAGES, QUICK_MESSAGES = 2_000, 300
OVER_NOOP, OVER_OPTUNA = 5.0, 0.5
UP_WITHIN = 240.0
ROOT = Path(__file__).resolve().parent.parent
LAUNCH = """
from benchmarks import throughput_toy as toy
from specialists import dispatch
from trials.services import campaigns, submissions
role = {{"name": "generalist", "surface": ["model.py"], "preamble": "All of it."}}
campaign = campaigns.create_campaign(campaigns.CampaignPlan(
    name="throughput", environment=toy.NAME, profile="cpu", spec=toy.Toy.spec.as_json("cpu"), roster="toy",
    roles=[role | {{"name": f"generalist_{{number}}"}} for number in range({slots})], proposer="toy", lineage="shared",
    keep_rule="strict", minimum_level="L2", seed={seed}, reproducible=False, max_trials={trials}, max_hours=24.0,
    slots={slots}, no_improvement_hours=24.0), actor="benchmark")
start = submissions.Submission("baseline", "The start.", toy.FILES, "", "", None, 0)
submissions.submit_trial(campaign.pk, start, actor="benchmark", enqueue=dispatch.evaluation(campaign))
print(campaign.pk)
"""
QUEUES = "agents,agents.models,default,evaluators.cpu"


def child(code: str) -> str:
    """What a fresh process of the site prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def workers(count: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One Celery worker for all queues with so many processes."""
    command = [
        sys.executable, "-m", "celery", "-A", "benchmarks.throughput_toy", "worker", "--loglevel", "WARNING",
        "--without-gossip", "--without-mingle", "-n", f"all{count}@bench", "-Q", QUEUES, "-c", str(count),
    ]  # fmt: skip
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def until(holds: Any, what: str) -> None:
    deadline = time.monotonic() + UP_WITHIN
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} takes more than {UP_WITHIN:g} s")
        time.sleep(0.02)


def noop_ms(messages: int, folder: Path) -> float:
    """Milliseconds for each of so many messages, one after the other, by one worker process."""

    def sent(count: int) -> float:
        marker = folder / f"noop-{count}-{time.monotonic_ns()}"
        child(f"from benchmarks.throughput_toy import noop; noop.apply_async(({count}, '{marker}'), queue='default')")
        began = time.monotonic()
        until(marker.exists, "a chain of messages")
        return time.monotonic() - began

    sent(5)  # the worker is up
    began = sent(messages)
    return 1000 * began / messages


def trial_ms(count: int, trials: int, database: Database, pids: list[int]) -> dict[str, float]:
    """Wall-clock and CPU milliseconds per trial of one campaign, from the first trials to the last record."""
    from trials.models import Campaign  # noqa: PLC0415 - Django first

    spoken = child(LAUNCH.format(slots=2 * count, trials=trials, seed=count))
    chosen = Campaign.objects.filter(pk=int(spoken.splitlines()[-1])).values_list("trial_count", flat=True)
    until(lambda: chosen.get() >= WARM, "the first trials")
    first, began, cpu = chosen.get(), time.monotonic(), _cpu(pids)
    until(lambda: chosen.get() >= trials, "a campaign")
    done = trials - first
    return {"wall_ms": 1000 * (time.monotonic() - began) / done, "cpu_ms": 1000 * (_cpu(pids) - cpu) / done}


def _cpu(roots: list[int]) -> float:
    found = processes.table()
    return processes.spent(processes.below(roots, found), found)


def optuna_ms(trials: int, sampler: str, database: Database) -> float:
    command = [OPTUNA.python(), HERE / "run_optuna.py", ROOT, database.url, str(trials), sampler]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON"))}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return 1000 * float(done.stdout) / trials


def measure(report: Report) -> None:
    """Servers, tables, then broker by broker; Optuna at the end."""
    trials = QUICK_TRIALS if report.quick else TRIALS
    messages = QUICK_MESSAGES if report.quick else MESSAGES
    with tempfile.TemporaryDirectory(prefix="ar-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        database, live = Database(folder / "database"), Redis(folder / "redis")
        rabbit = RabbitMQ(folder / "rabbitmq")
        database.create()
        try:
            for server in (database, live, rabbit):
                server.start()
            os.environ |= {
                "DATABASE_URL": database.url, "REDIS_URL": live.url, "BROKER_URL": live.url,
                "DATA_DIR": str(folder / "data"), "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings",
                "LOG_LEVEL": "WARNING", "SECRET_KEY": "throughput" * 6,
            }  # fmt: skip
            subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, check=True)
            import django  # noqa: PLC0415 - after the settings

            django.setup()
            best: dict[str, float] = {}
            for broker in (live, rabbit):
                best |= _broker(report, broker, database, folder, trials, messages)
            _optuna(report, database, trials, best)
        finally:
            for server in (rabbit, live, database):
                server.stop()


def _broker(
    report: Report, broker: Server, database: Database, folder: Path, trials: int, messages: int
) -> dict[str, float]:
    os.environ["BROKER_URL"] = broker.url
    with workers(1, folder):
        bare = noop_ms(messages, folder)
    report.rows.append({"what": "bare message", "broker": broker.name, "wall_ms": round(bare, 2), "messages": messages})
    walls = []
    for count in WORKERS:
        with workers(count, folder) as process:
            servers = [one.process.pid for one in (database, broker) if one.process is not None]
            found = trial_ms(count, trials, database, [process.pid, *servers])
        walls.append(found["wall_ms"])
        report.rows.append(
            {
                "what": "trial", "broker": broker.name, "workers": count, "trials": trials,
                "per_s": round(1000 / found["wall_ms"], 1), "wall_ms": round(found["wall_ms"], 1),
                "cpu_ms": round(found["cpu_ms"], 1), "messages": round(found["wall_ms"] / bare, 1),
                "load_average": round(os.getloadavg()[0], 1),
            }
        )  # fmt: skip
    report.targets[f"over_bare_{broker.name}"] = _full(report, at_most(round(min(walls) / bare, 2), OVER_NOOP))
    return {broker.name: min(walls)}


def _optuna(report: Report, database: Database, trials: int, best: dict[str, float]) -> None:
    walls = {sampler: optuna_ms(trials, sampler, database) for sampler in ("default", "random")}
    for sampler, wall in walls.items():
        row = {"what": "Optuna ask and tell", "sampler": sampler, "trials": trials, "wall_ms": round(wall, 1)}
        report.rows.append(row | {"load_average": round(os.getloadavg()[0], 1)})
    ratio = round(min(best.values()) / walls["default"], 2)
    report.targets["over_optuna"] = _full(report, at_most(ratio, OVER_OPTUNA))


def _full(report: Report, target: Target) -> Target:
    return Target(target.value, target.target, None) if report.quick else target


if __name__ == "__main__":
    sys.exit(run("throughput", measure))
