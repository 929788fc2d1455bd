"""The site under ``benchmarks.chaos``: its processes on three hosts, kept up, and looked at from outside."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, connection

from autoresearch_site.process import send
from benchmarks.hosts import Host, Network, Process, clock_stepper, python
from benchmarks.swarm_task import NAME
from evaluators.sandbox import leftovers
from specialists.launch import STEERING, LaunchSettings, launch_campaign
from specialists.management.commands.check_invariants import host as check_host
from specialists.management.commands.check_invariants import record
from trials import clock
from trials.invariants import Violation
from trials.models import Campaign, Event, Trial
from trials.vocab import CampaignState, EventKind

if TYPE_CHECKING:
    from benchmarks.chaos import Site

WEB_PORT = 8000
WORKER = (
    "celery", "-A", "autoresearch_site", "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle",
)  # fmt: skip
AGENTS = ("-Q", "agents,agents.models,default", "-c", "2")
EVALUATORS = ("-Q", "evaluators.cpu", "-c", "1")
BEAT = ("celery", "-A", "autoresearch_site", "beat", "--loglevel", "WARNING", "--pidfile=")
WEB = ("uvicorn", "autoresearch_site.asgi:application", "--host", "0.0.0.0", "--port", str(WEB_PORT))
LOOK_SECONDS = 1.0
UP_WITHIN = 180.0


@dataclass
class Found:
    """What was seen after a fault. Seconds: until nothing was overdue; until trials were recorded again; from the fault
    until each trial that was taken over was."""

    violations: list[Violation]
    settled: float
    works: float
    noticed: list[float]
    trials: int
    events: int
    restarted: list[str] = field(default_factory=list)


class Cluster:
    """The running site. ``began``: the database's time when the current fault began to work on an evaluator."""

    def __init__(self, site: Site, network: Network) -> None:
        self.site, self.network = site, network
        self.hosts: list[Host] = []
        self.processes: dict[str, Process] = {}
        self.killed_at: datetime | None = None
        self.resumed = 0
        self.memory: list[dict[str, float]] = []
        self.bytes: list[tuple[int, int]] = []
        self.spared_since = 0

    @property
    def mortal(self) -> list[Host]:
        """Hosts whose processes may be killed."""
        return self.hosts[-1:] if self.spared_since else self.hosts

    def spare_all_but_one_host(self) -> None:
        """From now on most processes live on, through all that breaks around them: their memory can be compared."""
        self.spared_since = max(1, len(self.memory))

    def add(self, host: Host, role: str, command: list[str]) -> None:
        process = Process(host, role, command)
        self.processes[process.name] = process
        process.start()

    def of(self, *roles: str, mortal: bool = False) -> list[str]:
        """Names of the processes with these roles, in a fixed order; of those that may be killed."""
        among = self.mortal if mortal else self.hosts
        return sorted(name for name, one in self.processes.items() if one.role in roles and one.host in among)

    def ensure_up(self) -> list[str]:
        """Start again what has ended; returns what that was."""
        ended = [name for name, one in self.processes.items() if not one.alive]
        for name in ended:
            self.processes[name].reap()
            self.processes[name].start()
        return ended

    def settle(self, settled_within: float, works_within: float, waited_for: Collection[str]) -> Found:
        """Look until nothing is overdue and a trial was recorded, or until that has taken too long."""
        began = time.monotonic()
        restarted = self.ensure_up()
        before, settled, works = self._recorded(), 0.0, 0.0
        found: list[Violation] = []
        while True:
            restarted += self.ensure_up()
            self._resume()
            now = time.monotonic() - began
            if not settled:
                found = self.look()
                hard = [one for one in found if one.invariant not in waited_for]
                settled = now if not found else 0.0
                if hard or (found and now > settled_within):
                    break
            if not works and self._recorded() > before and self._web_answers():
                works = now
            if settled and works:
                break
            if now > works_within:
                what = f"no trial was recorded, or no page answered, for {works_within:g} s"
                found.append(Violation("site", "progress", what))
                break
            time.sleep(LOOK_SECONDS)
        self._measure()
        return Found(found, settled, works, self._noticed(), self._recorded(), Event.objects.count(), restarted)

    def look(self) -> list[Violation]:
        """Every invariant, once: the record in one view, and each host."""
        found, _ = asked(record)
        for host in self.hosts:
            tempfile.tempdir = str(host.folder / "tmp")
            found += [Violation(host.name, "leftovers", f"{folder} is left") for folder in leftovers.stray()]
        tempfile.tempdir = None
        return found + [one for one in check_host(0.0) if one.invariant == "processes"]

    def _recorded(self) -> int:
        return asked(lambda: Event.objects.filter(kind=EventKind.TRIAL_FINISHED).count())

    def _web_answers(self) -> bool:
        address = f"http://{self.network.at(11)}:{WEB_PORT}/login/"
        try:
            with urllib.request.urlopen(address, timeout=3) as page:
                return page.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _resume(self) -> None:
        """Breakers pause a campaign loudly: here the operator comes at once."""
        for campaign in asked(lambda: list(Campaign.objects.filter(state=CampaignState.PAUSED))):
            with suppress(Exception):
                STEERING["resume"](campaign, actor="chaos")
                self.resumed += 1

    def _noticed(self) -> list[float]:
        """Seconds from the kill of an evaluator to each take-over after it."""
        killed, self.killed_at = self.killed_at, None
        if killed is None:
            return []
        retried = Event.objects.filter(kind=EventKind.TRIAL_RETRIED, at__gt=killed)
        return [
            round((at - killed).total_seconds(), 1) for at in asked(lambda: list(retried.values_list("at", flat=True)))
        ]

    def mark(self) -> None:
        """An evaluator is lost now, if something is in its hands."""
        self.killed_at = asked(clock.now)

    def _measure(self) -> None:
        self.memory.append({name: _resident(one) for name, one in self.processes.items()})
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            [(size,)] = cursor.fetchall()
        self.bytes.append((Trial.objects.count(), size))

    def summary(self) -> dict[str, Any]:
        """Memory in MB at the end of each quarter; bytes of the database per trial in each half. Where processes were
        spared: medians of the last quarter of that time over those of its first quarter."""
        quarters = [self.memory[len(self.memory) * part // 4 - 1] for part in range(1, 5)] if self.memory else []
        memory = {name: [round(quarter[name], 1) for quarter in quarters] for name in self.processes}
        half = len(self.bytes) // 2
        growth = [_per_trial(self.bytes[:half]), _per_trial(self.bytes[half:])] if half > 1 else []
        found: dict[str, Any] = {"resumed": self.resumed, "memory_mb": memory, "database_bytes_per_trial": growth}
        spared = self.memory[self.spared_since :]
        if self.spared_since and len(spared) >= 4:
            part, living = len(spared) // 4, [one for one in self.processes.values() if one.host not in self.mortal]
            found["memory_ratio"] = {
                one.name: round(_median(spared[-part:], one.name) / _median(spared[:part], one.name), 3)
                for one in living
            }
            found["database_ratio"] = round(growth[1] / growth[0], 3)
        return found


def _median(samples: list[dict[str, float]], name: str) -> float:
    return statistics.median(sample[name] for sample in samples)


def _per_trial(sizes: list[tuple[int, int]]) -> int:
    """Bytes: what the database grew by for each trial."""
    (few, small), (many, large) = sizes[0], sizes[-1]
    return round((large - small) / max(1, many - few))


def asked(question: Any) -> Any:
    """What the database answers, as soon as it does."""
    deadline = time.monotonic() + UP_WITHIN
    while True:
        try:
            return question()
        except (DatabaseError, InterfaceError, psycopg.Error):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _resident(process: Process) -> float:
    """MB that a process and its pool have written: pages of libraries are shared with whoever else runs just now."""
    total = 0
    if not process.alive:
        return 0.0
    for pid in process.tree():
        with suppress(OSError, ValueError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss_Anon:")).split()[1])
    return total / 1024


@contextmanager
def running(site: Site, network: Network, campaigns: int, slots: int) -> Iterator[Cluster]:
    """The tables, three hosts with their processes, and campaigns that search."""
    call_command("migrate", interactive=False, verbosity=0)
    limited = _evaluators_url(site)
    keys = ("LLM_PROVIDER", "LLM_MODEL", "LLM_PRICES", "LLM_BASE_URL", "LLM_STREAM")
    with ExitStack() as opened:
        cluster, stepper = Cluster(site, network), clock_stepper(site.folder)
        opened.callback(_end, cluster)
        for number in (1, 2, 3):
            host = Host(network, number, site.folder / f"h{number}", stepper)
            cluster.hosts.append(opened.enter_context(host))
        opened.callback(_stop, cluster)
        one, two, three = cluster.hosts
        collected = one.start("static", [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity=0"])
        if collected.wait(UP_WITHIN):
            raise RuntimeError("static files cannot be collected")
        cluster.add(one, "web", python(*WEB))
        cluster.add(one, "beat", python(*BEAT))
        for host in (one, two):
            cluster.add(host, "agents", python(*WORKER, "-n", f"agents@{host.name}", *AGENTS))
        for host in (two, three):
            command = python(*WORKER, "-n", f"ev@{host.name}", *EVALUATORS)
            unset = [word for key in (*keys, "SECRET_KEY") for word in ("-u", key)]
            cluster.add(host, "evaluators", ["env", *unset, f"DATABASE_URL={limited}", *command])
        for number in range(campaigns):
            chosen = LaunchSettings(
                NAME, "wait", "generic-10", "llm", keep_rule="strict", trials=100_000, slots=slots, usd=1e6,
                hours=48.0, seed=number, name=f"chaos {number}",
            )  # fmt: skip
            launch_campaign(chosen, actor="chaos")
        deadline = time.monotonic() + UP_WITHIN
        while cluster._recorded() < campaigns or not cluster._web_answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the site does not come up: see {site.folder}")
            time.sleep(LOOK_SECONDS)
        yield cluster


def _evaluators_url(site: Site) -> str:
    """Evaluators log in with a role that may do nothing but their work."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE evaluator LOGIN PASSWORD '{site.database.password}'")
    call_command("evaluator_role", "evaluator", verbosity=0)
    return site.database.url.replace(f"//{site.database.user}:", "//evaluator:")


def _stop(cluster: Cluster) -> None:
    for process in cluster.processes.values():
        process.signal(signal.SIGCONT, whole=True)
        for pid in process.tree() if process.alive else ():
            send(pid, signal.SIGKILL)
        process.reap()


def _end(cluster: Cluster) -> None:
    """Logs outlive the run where somebody asks for them."""
    kept = os.environ.get("CHAOS_LOGS")
    if kept:
        for host in cluster.hosts:
            for log in (host.folder / "log").glob("*.log"):
                target = Path(kept) / f"{host.number}-{log.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(log.read_bytes())
