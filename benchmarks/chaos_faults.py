"""The faults of ``benchmarks.chaos``: each breaks one thing, lasts a while, and leaves all of it running again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from celery import current_app

from autoresearch_site.process import send
from benchmarks.chaos_site import Cluster, asked
from specialists.models import Session
from trials.models import Campaign, Evaluation

ROLES = ("web", "beat", "agents", "evaluators")
LONGEST_STOP, LONGEST_CUT = 12.0, 14.0
"""Seconds: some last longer than a lease, some do not."""
STEPS = (0.0, 3600.0, -3600.0, 86400.0, -86400.0, 45.0, -45.0)
DUPLICATES = 12
Told = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """weight: how often it is drawn beside the others."""

    name: str
    weight: int
    act: Callable[[Cluster, random.Random], Told]


def schedule(seed: int, count: int) -> Iterator[tuple[Fault, random.Random]]:
    """The same seed gives the same kinds, targets and lengths."""
    draw = random.Random(seed)
    for fault in draw.choices(FAULTS, [fault.weight for fault in FAULTS], k=count):
        yield fault, random.Random(draw.getrandbits(64))


def _chosen(cluster: Cluster, draw: random.Random, *, mortal: bool = False) -> str:
    role = draw.choice(ROLES)
    return draw.choice(cluster.of(role, mortal=mortal) or cluster.of(*ROLES, mortal=mortal))


def kill(cluster: Cluster, draw: random.Random) -> Told:
    name = _chosen(cluster, draw, mortal=True)
    process = cluster.processes[name]
    if process.role == "evaluators":
        cluster.mark()
    process.kill()
    time.sleep(draw.uniform(0.0, 3.0))
    process.start()
    return {"target": name}


def kill_pool(cluster: Cluster, draw: random.Random) -> Told:
    """One process of a pool, under the worker's feet."""
    name = draw.choice(cluster.of("agents", "evaluators", mortal=True))
    process, place = cluster.processes[name], draw.random()
    if process.role == "evaluators":
        cluster.mark()
    children = process.children() if process.alive else []
    if children:
        send(children[int(place * len(children))], signal.SIGKILL)
    return {"target": name, "pool": len(children)}


def stop(cluster: Cluster, draw: random.Random) -> Told:
    name, seconds, whole = _chosen(cluster, draw), draw.uniform(1.0, LONGEST_STOP), draw.random() < 0.7
    process = cluster.processes[name]
    if process.role == "evaluators":
        cluster.mark()
    process.signal(signal.SIGSTOP, whole=whole)
    time.sleep(seconds)
    process.signal(signal.SIGCONT, whole=True)
    return {"target": name, "seconds": round(seconds, 1), "whole": whole}


def restart(cluster: Cluster, draw: random.Random) -> Told:
    name = _chosen(cluster, draw, mortal=True)
    cluster.processes[name].end()
    cluster.processes[name].start()
    return {"target": name}


def kill_host(cluster: Cluster, draw: random.Random) -> Told:
    """Power loss: everything of a host at once."""
    host = draw.choice(cluster.mortal)
    here = [one for one in cluster.processes.values() if one.host is host]
    if any(one.role == "evaluators" for one in here):
        cluster.mark()
    for process in here:
        for pid in process.tree() if process.alive else ():
            send(pid, signal.SIGKILL)
        process.reap()
    time.sleep(draw.uniform(0.0, 8.0))
    for process in here:
        process.start()
    return {"target": host.name}


def broker_kill(cluster: Cluster, draw: random.Random) -> Told:
    cluster.site.broker.kill()
    time.sleep(draw.uniform(0.0, 6.0))
    cluster.site.broker.start()
    return {}


def broker_stop(cluster: Cluster, draw: random.Random) -> Told:
    seconds = draw.uniform(1.0, LONGEST_STOP)
    cluster.site.broker.send(signal.SIGSTOP)
    time.sleep(seconds)
    cluster.site.broker.send(signal.SIGCONT)
    return {"seconds": round(seconds, 1)}


def broker_restart(cluster: Cluster, draw: random.Random) -> Told:
    cluster.site.broker.stop()
    time.sleep(draw.uniform(0.0, 3.0))
    cluster.site.broker.start()
    return {}


def broker_flush(cluster: Cluster, draw: random.Random) -> Told:
    cluster.site.broker.flush()
    return {}


def database_immediate(cluster: Cluster, draw: random.Random) -> Told:
    cluster.site.database.immediate()
    time.sleep(draw.uniform(0.0, 6.0))
    cluster.site.database.start()
    return {}


def database_kill(cluster: Cluster, draw: random.Random) -> Told:
    """The whole server with SIGKILL: shared memory is left as it was."""
    cluster.site.database.kill()
    time.sleep(draw.uniform(0.0, 3.0))
    cluster.site.database.start()
    return {}


def database_stop(cluster: Cluster, draw: random.Random) -> Told:
    seconds = draw.uniform(1.0, LONGEST_STOP)
    cluster.site.database.send(signal.SIGSTOP)
    time.sleep(seconds)
    cluster.site.database.send(signal.SIGCONT)
    return {"seconds": round(seconds, 1)}


def connections_cut(cluster: Cluster, draw: random.Random) -> Told:
    """Those within a transaction first, several times within a second."""
    cut, share = 0, draw.uniform(0.3, 1.0)
    with suppress(psycopg.Error), psycopg.connect(cluster.site.database.url, autocommit=True) as own:
        for _ in range(10):
            rows = own.execute(
                "SELECT pid, state FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND pid <> pg_backend_pid() ORDER BY pid"
            ).fetchall()
            busy = [pid for pid, state in rows if state != "idle"]
            for pid in busy or [pid for pid, _ in rows if draw.random() < share / 5]:
                cut += own.execute("SELECT pg_terminate_backend(%s)", [pid]).rowcount
            time.sleep(0.1)
    return {"cut": cut}


def network_cut(cluster: Cluster, draw: random.Random) -> Told:
    host, seconds = draw.choice(cluster.hosts), draw.uniform(2.0, LONGEST_CUT)
    if any(one.role == "evaluators" and one.host is host for one in cluster.processes.values()):
        cluster.mark()
    host.cut()
    time.sleep(seconds)
    host.heal()
    return {"target": host.name, "seconds": round(seconds, 1)}


def disk_full(cluster: Cluster, draw: random.Random) -> Told:
    host, disk, seconds = draw.choice(cluster.hosts), draw.choice(("tmp", "data")), draw.uniform(2.0, 8.0)
    filler = host.fill(disk)
    try:
        time.sleep(seconds)
    finally:
        filler.unlink(missing_ok=True)
    return {"target": host.name, "disk": disk, "seconds": round(seconds, 1)}


def database_disk_full(cluster: Cluster, draw: random.Random) -> Told:
    """The server ends when its log cannot be written; it comes up by itself, or is started, when there is room."""
    database, seconds = cluster.site.database, draw.uniform(1.0, 5.0)
    filler = database.folder / "filler"
    free = os.statvfs(database.folder)
    if free.f_bavail * free.f_frsize > 2 << 30:
        return {"skipped": "the database lies on a disk of its host's"}
    with suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"\0" * 65536)
    time.sleep(seconds)
    filler.unlink()
    assert database.process is not None
    time.sleep(0.5)
    if database.process.poll() is not None:
        database.start()
    database.wait()
    return {"seconds": round(seconds, 1)}


def clock_step(cluster: Cluster, draw: random.Random) -> Told:
    """The clock of one role of a host; it stays so until it is drawn again."""
    name, step = _chosen(cluster, draw), draw.choice(STEPS)
    process = cluster.processes[name]
    process.host.step_clock(process.role, step)
    return {"target": name, "step_s": step if process.host.stepper else None}


def duplicates(cluster: Cluster, draw: random.Random) -> Told:
    """Messages again, also of what ended long ago: every task of the site."""
    sent = 0
    rows = asked(lambda: list(Evaluation.objects.order_by("-pk").values_list("pk", "campaign_id")[:200]))
    held = asked(lambda: list(Session.objects.order_by("-pk").values_list("pk", flat=True)[:100]))
    campaigns = asked(lambda: list(Campaign.objects.order_by("pk").values_list("pk", flat=True)))
    for _ in range(DUPLICATES):
        place, kind = draw.random(), draw.randrange(5)
        order, campaign = rows[int(place**2 * len(rows))]
        messages: list[tuple[str, list[Any], str]] = [
            ("evaluators.evaluate", [order, ["specialists.advance", campaign]], "evaluators.cpu"),
            ("specialists.run_session", [held[int(place**2 * len(held))]] if held else [0], "agents.models"),
            ("evaluators.judge", [campaign, ["specialists.advance", campaign]], "default"),
            ("specialists.advance", [campaigns[int(place * len(campaigns))]], "default"),
            ("specialists.tick", [], "default"),
        ]
        name, arguments, queue = messages[kind]
        with suppress(Exception):  # the broker may be away
            current_app.send_task(name, args=arguments, queue=queue)
            sent += 1
    return {"sent": sent}


FAULTS = (
    Fault("kill", 6, kill),
    Fault("kill_pool", 4, kill_pool),
    Fault("stop", 5, stop),
    Fault("restart", 3, restart),
    Fault("kill_host", 2, kill_host),
    Fault("broker_kill", 2, broker_kill),
    Fault("broker_stop", 2, broker_stop),
    Fault("broker_restart", 1, broker_restart),
    Fault("broker_flush", 2, broker_flush),
    Fault("database_immediate", 2, database_immediate),
    Fault("database_kill", 1, database_kill),
    Fault("database_stop", 1, database_stop),
    Fault("database_disk_full", 1, database_disk_full),
    Fault("connections_cut", 5, connections_cut),
    Fault("network_cut", 4, network_cut),
    Fault("disk_full", 3, disk_full),
    Fault("clock_step", 4, clock_step),
    Fault("duplicates", 4, duplicates),
)
