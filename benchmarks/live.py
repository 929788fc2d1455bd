"""From the commit of an event to every open page: latency at two loads, and that nothing is lost or told twice.

The web process and whoever records events are processes of their own; the pages are sockets of this one, which follow
the protocol of ``static/js/reduce.js``. A bare echo of the channel layer, through the same kind of server and client in
the same run, says what the machine can do at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from benchmarks.lineage import made_up  # sets Django up, which the others need
from benchmarks.processes import table
from benchmarks.report import Report, at_most, run

# isort: split
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from autoresearch_site.bootstrap import migrate_embedded
from autoresearch_site.local import ensure_servers
from autoresearch_site.stack import bind
from trials.models import Campaign

FEW, SLOW, SLOW_MS, OVER_ECHO = 50, 20.0, 100.0, 3.0
MANY, FAST, FAST_MS, FRAMES = 500, 50.0, 500.0, 4.5
BURST, RECONNECTS = 1_000, 100
SECONDS, QUICK_SECONDS = 30, 8
PATIENCE, AT_ONCE = 120.0, 10


@lru_cache(64)
def parsed(text: str | bytes) -> dict[str, Any]:
    """Pages are browsers elsewhere; here one process is all of them, and reads a text that many get once."""
    found: dict[str, Any] = json.loads(text)
    return found


@dataclass
class Page:
    """An open page: which events it has applied and when each came. door: so many of all connect at a time."""

    url: str
    headers: dict[str, str]
    seq: int
    came: dict[int, float] = field(default_factory=dict)
    twice: int = 0
    frames: int = 0
    asking: bool = False
    door: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    socket: ClientConnection | None = None

    async def follow(self) -> None:
        """Until it is cancelled; a closed socket is opened again and catches up."""
        while True:
            try:
                async with self.door:
                    link = await connect(
                        self.url, additional_headers=self.headers, max_size=None, open_timeout=PATIENCE
                    )
                async with link:
                    self.socket = link
                    await self.ask()
                    async for text in link:
                        self.frames += 1
                        await self.take(parsed(text), time.monotonic())
            except (ConnectionClosed, OSError):
                pass
            self.socket = None

    async def ask(self) -> None:
        self.asking = True
        if self.socket is not None:
            await self.socket.send(json.dumps({"type": "catch_up", "after": self.seq}))

    async def take(self, message: dict[str, Any], at: float) -> None:
        """As ``reduce``: the next number is applied, a lower one is dropped, a higher one or a gap asks."""
        if message["type"] == "frame":
            for each in message["messages"]:
                await self.take(each, at)
        elif message["type"] == "event":
            if message["seq"] == self.seq + 1:
                self.twice += message["seq"] in self.came
                self.came[message["seq"]] = at
                self.seq += 1
            elif message["seq"] > self.seq and not self.asking:
                await self.ask()
        elif message["type"] == "gap":
            await self.ask()
        elif message["type"] == "head":
            self.asking = False
            if message["campaign"]["seq"] > self.seq:
                await self.ask()


@contextmanager
def server(application: str) -> Iterator[tuple[int, int]]:
    """A web process; yields its port and its process number."""
    with bind(0) as probe:
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), "--log-level", "error",
               "--lifespan", "off"]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def up(url: str, headers: dict[str, str]) -> None:
    """Wait until the server takes a socket. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            async with connect(url, additional_headers=headers):
                return
        except OSError:
            await asyncio.sleep(0.2)
    raise TimeoutError(url)


@asynccontextmanager
async def opened(pages: Sequence[Page]) -> AsyncIterator[None]:
    """All of them connected and caught up."""
    door = asyncio.Semaphore(AT_ONCE)
    for page in pages:
        page.door = door
    tasks = [asyncio.create_task(page.follow()) for page in pages]
    deadline = time.monotonic() + 2 * PATIENCE
    while not all(page.socket is not None and not page.asking for page in pages):
        if time.monotonic() > deadline:
            raise TimeoutError("the sockets did not come up")
        await asyncio.sleep(0.1)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def told(*arguments: str) -> dict[int, float]:
    """What the other process has sent: number -> moment."""
    command = [sys.executable, "-m", "benchmarks.live_task", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")
    lines = [line.split() for line in out.decode().splitlines()]
    return {int(number): float(at) for number, at in lines}


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def settled(pages: Sequence[Page], last: int) -> None:
    """Until every page has applied the last event, or patience ends."""
    deadline = time.monotonic() + PATIENCE
    while any(page.seq < last for page in pages) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)


async def echoed(port: int, seconds: int) -> list[float]:
    """Milliseconds from a group_send to each of FEW sockets of the bare echo."""
    url, came = f"ws://127.0.0.1:{port}/echo", []

    async def listen() -> None:
        async with connect(url) as link:
            async for text in link:
                came.append((json.loads(text)["seq"], time.monotonic()))

    await up(url, {})
    tasks = [asyncio.create_task(listen()) for _ in range(FEW)]
    await asyncio.sleep(2)
    sent = await told("echo", "-", str(SLOW), str(int(seconds * SLOW)))
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [1000 * (at - sent[seq]) for seq, at in came]


@dataclass(frozen=True)
class Watched:
    """ms: from the commit to each socket. frames: a second, of one page. web: cores that the web process used."""

    ms: list[float]
    short: int
    frames: float
    web: float
    load: float


async def watched(
    url: str, headers: dict[str, str], slug: str, sockets: int, rate: float, seconds: int, web: int
) -> Watched:
    """``rate`` events a second while so many pages are open; short: pages that lack some at the end."""
    start = (await Campaign.objects.aget(slug=slug)).last_seq
    pages = [Page(url, headers, start) for _ in range(sockets)]
    async with opened(pages):
        before, spent = sum(page.frames for page in pages), table()[web].own
        sent = await told("record", slug, str(rate), str(int(seconds * rate)))
        load, took = round(os.getloadavg()[0], 1), max(sent.values()) - min(sent.values())
        await settled(pages, max(sent))
        frames = (sum(page.frames for page in pages) - before) / sockets / took
        cores = (table()[web].own - spent) / took
    ms = [1000 * (at - sent[seq]) for page in pages for seq, at in page.came.items() if seq in sent]
    return Watched(ms, sum(not sent.keys() <= page.came.keys() for page in pages), frames, cores, load)


async def burst(url: str, headers: dict[str, str], slug: str) -> tuple[int, int, float]:
    """Events that a page lacks, events that a page has twice, seconds of the burst."""
    start = (await Campaign.objects.aget(slug=slug)).last_seq
    pages, draw = [Page(url, headers, start) for _ in range(FEW)], random.Random(0)
    async with opened(pages):
        recording, begun = asyncio.create_task(told("record", slug, "0", str(BURST))), time.monotonic()
        cut = 0
        while cut < RECONNECTS:
            page = draw.choice(pages)
            if page.socket is not None:
                cut += 1
                await page.socket.close()
            await asyncio.sleep(0.03)
        sent = await recording
        took = time.monotonic() - begun
        await settled(pages, max(sent))
    lost = sum(seq not in page.came for page in pages for seq in sent)
    return lost, sum(page.twice for page in pages), took


def measure(report: Report) -> None:
    """Echo and site in turns, then the crowd, then the burst."""
    ensure_servers()
    migrate_embedded()
    call_command("collectstatic", interactive=False, verbosity=0)
    campaign, _ = made_up(10)
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.create_user("reader"))
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    with server("autoresearch_site.asgi:application") as web, server("benchmarks.live_task:application") as (bare, _):
        headers = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{web[0]}"}
        asyncio.run(_measure(report, campaign.slug, web, bare, headers))


async def _measure(report: Report, slug: str, web: tuple[int, int], bare: int, headers: dict[str, str]) -> None:
    port, pid = web
    seconds = QUICK_SECONDS if report.quick else SECONDS
    url = f"ws://127.0.0.1:{port}/ws/campaigns/{slug}/"
    await up(url, headers)
    echo: list[float] = []
    few: list[Watched] = []
    for _ in range(2):  # in turns, so that both meet the same machine
        echo += await echoed(bare, seconds // 2)
        few.append(await watched(url, headers, slug, FEW, SLOW, seconds // 2, pid))
    many = await watched(url, headers, slug, MANY, FAST, seconds, pid)
    lost, twice, took = await burst(url, headers, slug)
    ms = [each for part in few for each in part.ms]
    report.rows += [
        _row(f"echo, {FEW} sockets", echo, few[-1].load),
        _row(f"{FEW} sockets", ms, few[-1].load) | {"web_cores": round(statistics.mean(part.web for part in few), 2)},
        _row(f"{MANY} sockets", many.ms, many.load) | {"web_cores": round(many.web, 2)},
        {"what": "burst", "events": BURST, "reconnects": RECONNECTS, "lost": lost, "twice": twice,
         "seconds": round(took, 1), "load_average": round(os.getloadavg()[0], 1)},
    ]  # fmt: skip
    p95 = percentile(ms, 0.95)
    report.targets |= {
        "50 sockets: p95_ms": at_most(round(p95, 1), SLOW_MS),
        "50 sockets: over echo": at_most(round(p95 / percentile(echo, 0.95), 2), OVER_ECHO),
        "500 sockets: p95_ms": at_most(round(percentile(many.ms, 0.95), 1), FAST_MS),
        "500 sockets: frames a second": at_most(round(many.frames, 2), FRAMES),
        "500 sockets: missing": at_most(many.short, 0),
        "burst: lost": at_most(lost, 0),
        "burst: twice": at_most(twice, 0),
    }


def _row(what: str, ms: Sequence[float], load: float) -> dict[str, Any]:
    middle, high = round(statistics.median(ms), 1), round(percentile(ms, 0.95), 1)
    return {"what": what, "deliveries": len(ms), "p50_ms": middle, "p95_ms": high, "load_average": load}


if __name__ == "__main__":
    raise SystemExit(run("live", measure))
