"""From the click to the first plot on the screen at 10,000 trials: this project, optuna-dashboard, MLflow, in turns.

Each rival runs from an environment of its own, as its manual starts it, and is filled through its own API with the
trials of one made-up search. One Chromium opens the page on which each shows the plots of a search, with an empty cache
each time; the clock runs from the navigation until Plotly, which draws them in all three, has drawn points, lines or
bars. A part of the benchmark ``explorer``, and a command of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.lineage import grow, made_up  # sets Django up, which the others need
from benchmarks.processes import below, spent, table
from benchmarks.report import Report, Target, at_most, run
from benchmarks.rivals import HERE, MLFLOW, OPTUNA_DASHBOARD, Rival
from benchmarks.servers import free_port

# isort: split
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from playwright.sync_api import Browser, sync_playwright

from autoresearch_site.bootstrap import migrate_embedded
from autoresearch_site.local import ensure_servers
from autoresearch_site.screenshots import ARGUMENTS, CHROMIUM, log_in, serving
from trials.models import Campaign, Trial

TRIALS, QUICK_TRIALS = 10_000, 1_000
REPEATS, QUICK_REPEATS = 9, 3
OVER_OPTUNA, OVER_MLFLOW = 0.25, 0.5
UP_SECONDS, FILL_SECONDS, DRAWN_MS = 120.0, 3_600.0, 120_000
#: Something of a trace is on the page: a point, a line, a bar or a cell of a heat map.
DRAWN = """() => document.querySelector(
  '.main-svg .scatterlayer .points path, .main-svg .scatterlayer .lines path, .main-svg .barlayer .point path,'
  + ' .main-svg .heatmaplayer image, .js-plotly-plot .gl-canvas') !== null"""


@dataclass(frozen=True)
class Contestant:
    """A running server: the page with its first plot, a session for it, and the process above all of its own."""

    name: str
    url: str
    pid: int
    cookie: tuple[str, str] | None = None


def rows_of(campaign: Campaign, path: Path) -> None:
    """The trials as lines of JSON, for the rivals."""
    with path.open("w", encoding="utf-8") as out:
        for trial in Trial.objects.of(campaign.pk).finished().order_by("number").iterator():
            assert trial.finished_at is not None
            row = {
                "number": trial.number, "role": trial.role, "hypothesis": trial.hypothesis, "label": trial.standing,
                "score": trial.score, "bytes": trial.artifact_bytes or 0, "begun": trial.submitted_at.isoformat(),
                "ended": trial.finished_at.isoformat(),
            }  # fmt: skip
            out.write(json.dumps(row) + "\n")


def filled(rival: Rival, rows: Path, database: Path) -> str:
    """The name of what was filled in the rival's own terms. Raises CalledProcessError."""
    command = [rival.python(), HERE / f"run_{rival.name}.py", rows, database]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=FILL_SECONDS, cwd=rows.parent)
    return done.stdout.split()[-1]


@contextmanager
def served(command: Sequence[str], folder: Path, url: str) -> Iterator[int]:
    """A server that answers at ``url``; yields its process number. Raises TimeoutError."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON"))}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + UP_SECONDS
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{command[0]} does not answer at {url}, see {folder / 'server.log'}")
            time.sleep(0.2)
        yield process.pid
    finally:
        processes = table()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            for pid in below([process.pid], processes):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            process.wait()


@contextmanager
def optuna(rows: Path, folder: Path) -> Iterator[Contestant]:
    database, port = folder / "optuna.journal", free_port("127.0.0.1")
    study = filled(OPTUNA_DASHBOARD, rows, database)
    program = OPTUNA_DASHBOARD.python().with_name("optuna-dashboard")
    base = f"http://127.0.0.1:{port}"
    with served([str(program), str(database), "--port", str(port)], folder, f"{base}/dashboard/") as pid:
        yield Contestant("optuna-dashboard", f"{base}/dashboard/studies/{study}", pid)


@contextmanager
def mlflow(rows: Path, folder: Path) -> Iterator[Contestant]:
    database, port = folder / "mlflow.db", free_port("127.0.0.1")
    experiment = filled(MLFLOW, rows, database)
    program, base = MLFLOW.python().with_name("mlflow"), f"http://127.0.0.1:{port}"
    command = [str(program), "server", "--backend-store-uri", f"sqlite:///{database}", "--port", str(port)]
    with served(command, folder, f"{base}/health") as pid:
        yield Contestant("mlflow", f"{base}/#/experiments/{experiment}/runs?compareRunsMode=CHART", pid)


@contextmanager
def this(campaign: Campaign) -> Iterator[Contestant]:
    get_user_model().objects.create_superuser("first-plot")
    session = log_in()
    with serving() as address:
        [web] = [pid for pid, found in table().items() if found.parent == os.getpid() and "uvicorn" in found.command]
        cookie = (settings.SESSION_COOKIE_NAME, str(session.session_key))
        yield Contestant("this", f"{address}{campaign.get_absolute_url()}", web, cookie)


def opened(browser: Browser, who: Contestant) -> tuple[float, int, float]:
    """Milliseconds to the first plot, bytes that came over the wire until then, CPU ms of the server's processes."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    if who.cookie is not None:
        context.add_cookies([{"name": who.cookie[0], "value": who.cookie[1], "url": who.url}])
    page, came = context.new_page(), [0]
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: came.append(int(event["encodedDataLength"])))
    before = table()
    own, begun = spent(below([who.pid], before), before), time.monotonic()
    page.goto(who.url, wait_until="commit")
    page.wait_for_function(DRAWN, timeout=DRAWN_MS, polling="raf")
    took, after = 1000 * (time.monotonic() - begun), table()
    cpu = spent(below([who.pid], after), after) - own
    context.close()
    return took, sum(came), 1000 * cpu


def measure(report: Report) -> None:
    """Fill all three, then open them in turns."""
    ensure_servers()
    migrate_embedded()
    call_command("collectstatic", interactive=False, verbosity=0)
    trials, repeats = (QUICK_TRIALS, QUICK_REPEATS) if report.quick else (TRIALS, REPEATS)
    campaign, plan = made_up(trials)
    campaign, _, _ = grow(campaign, plan, trials)
    with tempfile.TemporaryDirectory(prefix="ar-first-plot-") as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        rows_of(campaign, rows)
        for part in ("optuna", "mlflow"):
            (folder / part).mkdir()
        with this(campaign) as own, optuna(rows, folder / "optuna") as one, mlflow(rows, folder / "mlflow") as other:
            compare(report, (own, one, other), repeats)


def compare(report: Report, contestants: Sequence[Contestant], repeats: int) -> None:
    found: dict[str, list[tuple[float, int, float]]] = {who.name: [] for who in contestants}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for turn in range(repeats + 1):  # the first fills the servers' own caches and does not count
            for who in contestants:
                cost = opened(browser, who)
                sys.stderr.write(f"first_plot: {who.name} {cost[0]:.0f} ms\n")
                if turn:
                    found[who.name].append(cost)
        browser.close()
    middle: Callable[[str, int], float] = lambda name, at: statistics.median(row[at] for row in found[name])  # noqa: E731
    for name, costs in found.items():
        report.rows.append({
            "system": name, "repeats": len(costs), "first_plot_ms": round(middle(name, 0)),
            "low": round(min(cost[0] for cost in costs)), "high": round(max(cost[0] for cost in costs)),
            "kb": round(middle(name, 1) / 1000), "server_cpu_ms": round(middle(name, 2)),
            "load_average": round(os.getloadavg()[0], 1),
        })  # fmt: skip
    for name, most in (("optuna-dashboard", OVER_OPTUNA), ("mlflow", OVER_MLFLOW)):
        ratio = round(middle("this", 0) / middle(name, 0), 3)
        report.targets[f"first plot: this over {name}"] = _full(report, at_most(ratio, most))


def _full(report: Report, target: Target) -> Target:
    return replace(target, ok=None) if report.quick else target


if __name__ == "__main__":
    raise SystemExit(run("first_plot", measure))
