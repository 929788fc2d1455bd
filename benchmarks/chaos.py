"""Random faults in a running search on three hosts: is anything lost, and does it go on?

Hosts are network namespaces with folders of their own, which meet at a PostgreSQL and a broker over TCP. After each
fault all invariants are checked in one view of the record (``manage.py check_invariants`` does the same), and trials
have to be recorded again. The same seed gives the same faults. With ``--minutes`` there is one fault a minute, and
memory is asked to be flat in the second half, in which only the third host's processes are killed. Needs root; clocks
are stepped where there is a C compiler, RabbitMQ is used with ``--broker rabbitmq``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django

from benchmarks import swarm_task
from benchmarks.report import Report, Target, at_most, run
from benchmarks.servers import Database, RabbitMQ, Redis, Server
from tests.specialists.llm_server import ModelServer

LEASE_SECONDS, LOST_MESSAGE_SECONDS = 6, 10
CAMPAIGNS, SLOTS = 3, 3
SETTLED_WITHIN, WORKS_WITHIN = 30.0, 120.0
"""Seconds after a fault has ended until no lease may be overdue, and until a trial must have been recorded."""
WAITED_FOR = frozenset({"leases", "sessions", "processes", "leftovers"})
"""Invariants that may be late for SETTLED_WITHIN; all others hold at every moment."""
FLAT, EVERY_SECONDS = 1.05, 60.0
OPTIONS: dict[str, dict[str, Any]] = {
    "faults": {"type": int, "default": 0, "help": "how many; 200, with --quick 20"},
    "minutes": {"type": int, "default": 0, "help": "one fault a minute for so long, memory flat; 120 at the full size"},
    "seed": {"type": int, "default": 0, "help": "the same seed gives the same faults"},
    "broker": {"choices": ("redis", "rabbitmq"), "default": "redis", "help": "what carries the queues"},
}


@dataclass
class Site:
    """Everything that runs, by name; filled by ``benchmarks.chaos_site``."""

    database: Database
    broker: Server
    live: Redis
    folder: Path
    hosts: list[Any] = field(default_factory=list)
    processes: dict[str, Any] = field(default_factory=dict)


def prepare(folder: Path, address: str, broker: str) -> Site:
    """Start the servers and point this process's settings at them."""
    database, live = Database(folder / "database", address), Redis(folder / "redis", address)
    carrier: Server = live if broker == "redis" else RabbitMQ(folder / "rabbitmq", address)
    database.create()
    for server in {database, live, carrier}:
        server.start()
    swarm_task.write(folder / "environments")
    os.environ |= {
        "DATABASE_URL": database.url,
        "BROKER_URL": carrier.url,
        "REDIS_URL": live.url,
        "DATA_DIR": str(folder / "driver"),
        "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings",
        "AUTORESEARCH_ENVIRONMENTS": str(folder / "environments"),
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "LOST_MESSAGE_SECONDS": str(LOST_MESSAGE_SECONDS),
        "LLM_PROVIDER": "compatible",
        "LLM_MODEL": "mock",
        "LLM_PRICES": '{"mock": {"input": 1, "output": 1}}',
        "LLM_STREAM": "0",
        "LOG_LEVEL": "WARNING",
        "SECRET_KEY": "chaos-" * 10,
        "ALLOWED_HOSTS": "*",
    }
    return Site(database, carrier, live, folder)


def measure(report: Report) -> None:
    """Build the site, break it, look."""
    faults = report.options["minutes"] or report.options["faults"] or (20 if report.quick else 200)
    seed = report.options["seed"]
    say = sys.stderr if report.options["json"] else sys.stdout
    from benchmarks.hosts import Network  # noqa: PLC0415 - after the settings

    with (
        tempfile.TemporaryDirectory(prefix="ar-chaos-", ignore_cleanup_errors=True) as name,
        Network(os.getpid() % 200) as network,
        ModelServer(swarm_task.model(), network.address) as models,
    ):
        models.asked, models.charged = swarm_task.Tally(), swarm_task.Tally()
        os.environ["LLM_BASE_URL"] = f"{models.url}/v1"
        site = prepare(Path(name), network.address, report.options["broker"])
        django.setup()
        from benchmarks.chaos_site import running  # noqa: PLC0415 - Django first

        try:
            with running(site, network, CAMPAIGNS, SLOTS) as cluster:
                _break(report, cluster, faults, seed, say)
        finally:
            for server in {site.database, site.live, site.broker}:
                server.stop()


def _break(report: Report, cluster: Any, faults: int, seed: int, say: Any) -> None:
    from benchmarks.chaos_faults import schedule  # noqa: PLC0415 - Django first

    began, violations, slowest, noticed = time.monotonic(), 0, 0.0, 0.0
    minutes = report.options["minutes"]
    for number, (fault, draw) in enumerate(schedule(seed, faults)):
        if minutes:
            time.sleep(max(0.0, began + number * EVERY_SECONDS - time.monotonic()))
            if number == faults // 2:
                cluster.spare_all_but_one_host()
        at = time.monotonic()
        told = {"fault": number, "kind": fault.name, **fault.act(cluster, draw)}
        lasted = time.monotonic() - at
        found = cluster.settle(SETTLED_WITHIN, WORKS_WITHIN, WAITED_FOR)
        row = told | {
            "lasted_s": round(lasted, 1), "settled_s": round(found.settled, 1), "works_s": round(found.works, 1),
            "noticed_s": found.noticed, "trials": found.trials, "events": found.events,
            "restarted": found.restarted, "violations": [str(one) for one in found.violations],
        }  # fmt: skip
        if minutes:
            row["memory_mb"] = {name: round(size) for name, size in cluster.memory[-1].items()}
        violations += len(found.violations)
        slowest, noticed = max(slowest, found.works), max(noticed, *found.noticed, 0.0)
        report.rows.append(row)
        say.write(json.dumps(row) + "\n")
        say.flush()
    summary = cluster.summary() | {
        "faults": faults, "seed": seed, "broker": report.options["broker"], "violations": violations,
        "minutes": round((time.monotonic() - began) / 60, 1), "slowest_recovery_s": round(slowest, 1),
    }  # fmt: skip
    report.rows.append(summary)
    say.write(json.dumps(summary) + "\n")
    report.targets["violations"] = at_most(violations, 0)
    report.targets["ended_by_themselves"] = at_most(sum(len(row["restarted"]) for row in report.rows[:-1]), 0)
    if minutes:
        flat, grown = max(summary["memory_ratio"].values()), summary["database_ratio"]
        report.targets["memory"] = _if_long(minutes, at_most(flat, FLAT))
        report.targets["database"] = _if_long(minutes, at_most(grown, FLAT))
    report.targets["noticed_s"] = at_most(noticed, 30.0) if noticed else Target(None, 30.0, None)


def _if_long(minutes: int, target: Target) -> Target:
    return target if minutes >= 120 else Target(target.value, target.target, None)


def _leave(*_: object) -> None:
    """A killed run takes its hosts and servers down."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(run("chaos", measure, options=OPTIONS))
