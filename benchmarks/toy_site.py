"""The site with the toy environment of ``benchmarks.throughput_toy``, on servers of its own, seen from outside.

Workers are one Celery process with so many processes that take every queue, beside the beat of every site. All that a
benchmark asks while it counts is one row of the database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg

from autoresearch_site.process import descendants
from benchmarks import processes
from benchmarks.servers import Database, RabbitMQ, Redis, Server

ROOT = Path(__file__).resolve().parent.parent
QUEUES = "agents,agents.models,default,evaluators.cpu"
REACHED_WITHIN, ENDS_WITHIN = 4 * 3600.0, 600.0
APPLICATION = "benchmarks.throughput_toy"
Found = TypeVar("Found")
_WHERE = "SELECT trial_count, state, state_reason FROM trials_campaign WHERE id = %s"


@dataclass(frozen=True)
class Cost:
    """Of a stretch of trials, per trial. Milliseconds; CPU is that of workers, beat, database and broker."""

    trials: int
    wall_ms: float
    cpu_ms: float


class Celery:
    """A Celery process that is counted: a worker, or the beat."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.words, self.environment, self.log = words, environment, log

    def __enter__(self) -> int:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "--quiet", *self.words], cwd=ROOT, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env=self.environment,
            )  # fmt: skip
        return self.process.pid

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            started = [self.process.pid, *descendants(self.process.pid)]
            for pid in started:
                os.kill(pid, 9)
            self.process.wait()


class ToySite:
    """PostgreSQL, Redis and RabbitMQ that run, tables that are made."""

    def __init__(self, folder: Path, *, rabbitmq: bool = True, tls: Path | None = None) -> None:
        """tls: as of ``benchmarks.servers.Server``, for database and Redis."""
        self.folder = folder
        self.database = Database(folder / "database", tls=tls)
        self.redis = Redis(folder / "redis", tls=tls)
        self.rabbitmq = RabbitMQ(folder / "rabbitmq") if rabbitmq else None

    def __enter__(self) -> Self:
        self.database.create()
        try:
            for server in self.servers():
                server.start()
            self.child("manage.py", "migrate", "--verbosity=0")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers():
            server.stop()

    def servers(self) -> list[Server]:
        return [self.database, self.redis, *([self.rabbitmq] if self.rabbitmq else [])]

    def environment(self, broker: Server) -> dict[str, str]:
        """What processes of the site are told."""
        return os.environ | {
            "DATABASE_URL": self.database.url, "REDIS_URL": self.redis.url, "BROKER_URL": broker.url,
            "DATA_DIR": str(self.folder / "data"), "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings",
            "LOG_LEVEL": "WARNING", "SECRET_KEY": "throughput" * 6,
        }  # fmt: skip

    def child(self, *words: str, broker: Server | None = None) -> str:
        """What a fresh Python process of the site prints. Raises RuntimeError with the end of what it complains of."""
        environment = self.environment(broker or self.redis)
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words[:3])}: {done.stderr[-1500:]}")
        return done.stdout

    @contextmanager
    def workers(self, broker: Server, count: int) -> Iterator[list[int]]:
        """So many processes for all queues, and the beat; the numbers of all that is counted, servers included."""
        environment, log = self.environment(broker), self.folder / "workers.log"
        worker = [
            "-A", APPLICATION, "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle",
            "-n", f"all{count}@bench", "-Q", QUEUES, "-c", str(count),
        ]  # fmt: skip
        beat = ["-A", APPLICATION, "beat", "--loglevel", "WARNING", "--pidfile="]
        with Celery(worker, environment, log) as one, Celery(beat, environment, log) as two:
            yield [one, two, *self.pids(broker)]

    def pids(self, broker: Server) -> list[int]:
        """The servers that trials need."""
        needed = {self.database, self.redis, broker}
        return [server.process.pid for server in needed if server.process is not None]

    def launch(self, broker: Server, **campaign: Any) -> list[int]:
        """Launch campaigns; keywords as of ``throughput_toy.launch``. Returns their primary keys."""
        words = (f"from {APPLICATION} import launch", "import json, sys", "print(launch(**json.loads(sys.argv[1])))")
        said = self.child("-c", "\n".join(words), json.dumps(campaign), broker=broker)
        return [int(word) for word in said.splitlines()[-1].strip("[]").split(",")]

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.database.url, autocommit=True) as made:
            yield made

    def cost(self, campaign: int, first: int, last: int, pids: Collection[int]) -> Cost:
        """What trials cost from about the first to about the last of them. Raises RuntimeError when it ends early."""
        with self.connection() as connection:
            began = self.reached(connection, campaign, first)
            wall, cpu = time.monotonic(), spent(pids)
            ended = self.reached(connection, campaign, last)
            wall, cpu = time.monotonic() - wall, spent(pids) - cpu
        done = ended - began
        return Cost(done, 1000 * wall / done, 1000 * cpu / done)

    def reached(self, connection: psycopg.Connection[Any], campaign: int, wanted: int) -> int:
        """Wait for so many trials; returns how many there are. Raises RuntimeError when the campaign ends before."""

        def looked() -> int | None:
            trials, state, reason = self.where(connection, campaign)
            if trials < wanted and state not in {"running", "finalising"}:
                raise RuntimeError(f"the campaign is {state} after {trials} trials: {reason}")
            return trials if trials >= wanted else None

        return until(looked, f"trial {wanted}", REACHED_WITHIN)

    def where(self, connection: psycopg.Connection[Any], campaign: int) -> tuple[int, str, str]:
        """Trials recorded, state and why."""
        found = connection.execute(_WHERE, [campaign]).fetchone()
        assert found is not None, "launched"
        return found

    def ended(self, campaigns: Collection[int]) -> None:
        """Wait until they have ended: what they still order would be measured with the next ones."""
        with self.connection() as connection:
            for campaign in campaigns:
                until(lambda one=campaign: self.where(connection, one)[1] == "finished" or None, "the end")  # type: ignore[misc]


def spent(roots: Collection[int]) -> float:
    """CPU seconds so far of these processes and all below them."""
    found = processes.table()
    return processes.spent(processes.below(roots, found), found)


def until(look: Callable[[], Found | None], what: str, within: float = ENDS_WITHIN) -> Found:
    """What is found at last. Raises RuntimeError when it takes too long."""
    deadline = time.monotonic() + within
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} takes more than {within:g} s")
        time.sleep(0.02)
    return found
