"""What every page of a campaign costs the server, and how many bytes it has, in searches of a thousand to a million.

One made-up search grows in a database of its own. Each page is asked through all of the site's middleware by somebody
who is logged in; counted are CPU milliseconds of this process and of its database process, median of the repeats, and
the bytes of the answer before compression. Then Chromium opens its plots beside those of other systems, see
``benchmarks.first_plot``.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from benchmarks import first_plot
from benchmarks.lineage import backend, database_cpu, grow, made_up  # sets Django up, which the others need
from benchmarks.report import Report, Target, at_most, run

# isort: split
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client

from autoresearch_site.asgi import application
from autoresearch_site.bootstrap import migrate_embedded
from autoresearch_site.local import ensure_servers
from trials.catch_up import answers
from trials.explorer.pages import PLOTS
from trials.models import Campaign, Trial

SIZES = (1_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 20_000)
REPEATS, WARM = 15, 3
RATIO = 1.5
TRIALS_MS, TRIALS_BYTES, PLOT_BYTES, POLL_MS = 15.0, 150_000, 100_000, 5.0


def addresses(campaign: Campaign) -> dict[str, str]:
    """Name and address of every page, piece and plot of this campaign."""
    base, best = campaign.get_absolute_url(), campaign.best_trial
    assert best is not None
    parent = Trial.objects.get(pk=best.pk).parent
    middle = campaign.last_number // 2
    found = {
        "campaigns": "/",
        "overview": base,
        "head": f"{base}head.json",
        "trials": f"{base}trials/",
        "trials, best first": f"{base}trials/?sort=best",
        "trials, deep": f"{base}trials/?after={middle}",
        "trials, by words": f"{base}trials/?q=momentum+buffers&standing=discard",
        "trials, one row": f"{base}trials/rows/?number={middle}",
        "lineage": f"{base}lineage/",
        "lineage, children": f"{base}lineage/{0 if parent is None else parent.number}/children/?standing=discard",
        "lineage, edge": f"{base}lineage/{best.number}/edge/",
        "trial": f"{base}trials/{best.number}/",
        "audit": f"{base}audit/",
    }
    found |= {name: f"{base}{name}/" for name in ("frontier", "failures", "roles", "throughput", "compare", "report")}
    charts = {f"chart {name}": f"{base}charts/{name}.json" for name in ("frontier", "labels", "roles", "throughput")}
    return found | charts | {f"plot {name}": f"{base}plots/{name}.json" for name in PLOTS}


def cost(act: Callable[[], Any], pid: int) -> float:
    """Median CPU milliseconds of this process and its database process."""
    spent = []
    for turn in range(WARM + REPEATS):
        own, its = time.process_time(), database_cpu(pid)
        act()
        if turn >= WARM:
            spent.append(1000 * (time.process_time() - own) + database_cpu(pid) - its)
    return statistics.median(spent)


def measured(campaign: Campaign, client: Client) -> dict[str, tuple[float, int]]:
    """CPU milliseconds and bytes by name."""
    pid, found = backend(), {}
    for name, address in addresses(campaign).items():
        answer = client.get(address)
        if answer.status_code != 200:
            raise RuntimeError(f"{address} answers {answer.status_code}")
        found[name] = (cost(lambda address=address: client.get(address), pid), len(answer.content))  # type: ignore[misc]
    found["empty poll"] = (cost(poll(campaign, client), pid), 0)
    with asyncio.Runner() as runner:
        again = reconnect(campaign, client, runner)
        again()
        theirs = runner.run(database_sync_to_async(backend)())  # what sockets ask is asked in a thread of their own
        found["reconnect"] = (cost(again, theirs), 0)
        runner.run(database_sync_to_async(connections.close_all)())
    return found


def poll(campaign: Campaign, client: Client) -> Callable[[], None]:
    """What a socket asks after a reconnect at which nothing was missed."""
    account = int(client.session["_auth_user_id"])

    def ask() -> None:
        [text] = answers(campaign.slug, [(account, campaign.last_seq)])
        assert text is not None and '"more":false' in text

    return ask


def reconnect(campaign: Campaign, client: Client, runner: asyncio.Runner) -> Callable[[], None]:
    """A socket opens through all of the site's middleware, is told that it missed nothing, and closes."""
    path = f"/ws/campaigns/{campaign.slug}/"
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    headers = [(b"cookie", cookie.encode()), (b"host", b"127.0.0.1"), (b"origin", b"http://127.0.0.1")]
    scope = {"type": "websocket", "path": path, "headers": headers, "query_string": b"", "subprotocols": []}
    question = json.dumps({"type": "catch_up", "after": campaign.last_seq})

    async def once() -> None:
        socket = ApplicationCommunicator(application, dict(scope))
        await socket.send_input({"type": "websocket.connect"})
        assert (await socket.receive_output(10))["type"] == "websocket.accept"
        await socket.send_input({"type": "websocket.receive", "text": question})
        assert '"more":false' in (await socket.receive_output(10))["text"]
        await socket.send_input({"type": "websocket.disconnect", "code": 1001})
        await socket.wait(10)

    return lambda: runner.run(once())


def measure(report: Report) -> None:
    """Grow, measure, grow again."""
    ensure_servers()
    migrate_embedded()
    call_command("collectstatic", interactive=False, verbosity=0)
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.create_user("reader"))
    sizes = QUICK_SIZES if report.quick else SIZES
    campaign, plan = made_up(sizes[-1])
    found: dict[int, Mapping[str, tuple[float, int]]] = {}
    for size in sizes:
        campaign, _, took = grow(campaign, plan, size)
        found[size] = measured(campaign, client)
        sys.stderr.write(f"explorer: {size} trials measured, loaded in {took:.0f} s\n")
    first, last = found[sizes[0]], found[sizes[-1]]
    for name, (ms, size_bytes) in last.items():
        row: dict[str, Any] = {"page": name}
        for size in sizes:
            row[f"{size}_cpu_ms"], row[f"{size}_bytes"] = round(found[size][name][0], 2), found[size][name][1]
        report.rows.append(row | {"ratio": round(ms / first[name][0], 2)})
        report.targets[f"{name}: last_over_first"] = _full(report, at_most(round(ms / first[name][0], 3), RATIO))
        if name.startswith(("plot ", "chart ")):
            report.targets[f"{name}: bytes"] = at_most(size_bytes, PLOT_BYTES)
    report.targets["trials: cpu_ms"] = at_most(round(last["trials"][0], 2), TRIALS_MS)
    report.targets["trials: bytes"] = at_most(last["trials"][1], TRIALS_BYTES)
    for name in ("empty poll", "reconnect"):
        report.targets[f"{name}: cpu_ms"] = at_most(round(last[name][0], 2), POLL_MS)
    first_plot.measure(report)


def _full(report: Report, target: Target) -> Target:
    return replace(target, ok=None) if report.quick else target


if __name__ == "__main__":
    raise SystemExit(run("explorer", measure))
