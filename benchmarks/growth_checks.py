"""What ``benchmarks.growth`` asks of a site from within: JSON on stdout.

``python -m benchmarks.growth_checks depth CAMPAIGN NUMBER...``, ``whole CAMPAIGN`` or ``crowd``. CPU milliseconds are
those of this process and its database process.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.lineage import backend, database_cpu  # sets Django up, which the others need

# isort: split
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from benchmarks import throughput_toy  # noqa: F401 - the tick judges what the toy environment has measured
from specialists import services
from specialists.library import source_reader
from specialists.operations.waits import hanging
from trials.invariants import check_campaign, snapshot
from trials.lineage import build_slice
from trials.models import Campaign
from trials.report import build_report
from trials.services.exports import export_to

ROOT = Path(__file__).resolve().parent.parent
REPEATS, WARM = 12, 3
VERIFIER = [sys.executable, "-I", "-S", str(ROOT / "verify_bundle.py")]


def visitor() -> Client:
    """A browser of somebody who sees everything."""
    user, _ = User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"  # no manifest
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    return client


def median(act: Callable[[], Any]) -> float:
    """CPU milliseconds."""
    pid = backend()
    return statistics.median([_once(act, pid) for _ in range(WARM + REPEATS)][WARM:])


def page(client: Client, address: str) -> Callable[[], None]:
    """Asks for a page, which has to answer."""

    def ask() -> None:
        if (status := client.get(address).status_code) != 200:
            raise RuntimeError(f"{address} answers {status}")

    return ask


def depth(campaign: Campaign, number: int, client: Client) -> dict[str, float]:
    """What reading about this trial costs, by what is read."""
    role, base = campaign.roles[0]["name"], campaign.get_absolute_url()
    view = build_slice(campaign, role, up_to=number)
    pages = {
        "trial": f"trials/{number}/", "lineage": f"lineage/?trial={number}", "edge": f"lineage/{number}/edge/",
        "line": f"lineage/{number}/line/?first=1&last={number - 1}&at={number // 2}",
        "children": f"lineage/{number - 1}/children/", "compare": f"compare/?trial=0,{number}",
    }  # fmt: skip
    found = {name: median(page(client, base + path)) for name, path in pages.items()}
    found["slice"] = median(lambda: build_slice(campaign, role, up_to=number).text())
    found["rebase"] = median(lambda: source_reader(campaign, view)(number))
    return found


def whole(campaign: Campaign) -> dict[str, Any]:
    """CPU milliseconds per trial of exporting, verifying and reporting; whether the bundle and the record are sound."""
    trials, pid, found = campaign.trial_count, backend(), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="ar-bench-") as folder:
        path = Path(folder, "bundle.zip")
        found["export"] = _once(lambda: export_to(path, campaign.slug, profiles=[], actor="benchmark"), pid) / trials
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run([*VERIFIER, path, "--json"], capture_output=True, text=True, check=False)
        found["verify"] = 1000 * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) / trials
        found["verified"] = bool(json.loads(done.stdout)["ok"])
    found["report"] = _once(lambda: build_report(campaign), pid) / trials
    with snapshot():
        found["violations"] = [str(one) for one in check_campaign(campaign)][:5]
    return found


def _once(act: Callable[[], Any], pid: int) -> float:
    own, its = time.process_time(), database_cpu(pid)
    act()
    return 1000 * (time.process_time() - own) + database_cpu(pid) - its


def crowd(client: Client) -> dict[str, float]:
    """The tick, the page of workers and what hangs, with whatever campaigns there are."""
    return {
        "tick": median(services.tick), "workers": median(page(client, "/workers/")), "hanging": median(hanging)
    }  # fmt: skip


def main(words: list[str]) -> dict[str, Any]:
    what, *rest = words
    if what == "crowd":
        return crowd(visitor())
    campaign = Campaign.objects.get(pk=int(rest[0]))
    if what == "whole":
        return whole(campaign)
    client = visitor()
    return {number: depth(campaign, int(number), client) for number in rest[1:]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])) + "\n")
