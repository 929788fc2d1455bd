"""What a swarm costs beside its trials: parallel efficiency, and CPU per trial against OpenEvolve and ShinkaEvolve.

Efficiency: the same search with one slot and with ten, trials that wait five seconds; T is trials per second from the
first submission to the last record, eta = T(10) / (10 T(1)), as the paper divides its measured throughputs.

CPU: all three systems change the same 40 kB program with the same model on this machine (a server that answers by a
script), four trials at a time, one system after the other. Counted are all processes of a system (here the workers,
the beat, the database and the broker), not the model, and not the evaluation itself: there sandboxes, here what the
evaluators say of themselves. Whether this system's figure grows is told at equal cost of an evaluation: that is the
same work in every trial, and what it costs says how fast a shared machine was in each window.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import django

from benchmarks import processes, swarm_task
from benchmarks.report import Report, Target, at_least, at_most, run
from benchmarks.rivals import OPENEVOLVE, SHINKA, Rival
from tests.specialists.llm_server import ModelServer

_FOLDER = tempfile.TemporaryDirectory(prefix="ar-bench-")
WORK = Path(_FOLDER.name)
swarm_task.write(WORK / "environments")
SLOTS, CPU_SLOTS = 10, 4
os.environ |= {
    "DATA_DIR": str(WORK / "data"),
    "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings",
    "AUTORESEARCH_ENVIRONMENTS": str(WORK / "environments"),
    "AGENT_SLOTS": str(CPU_SLOTS),
    "EVALUATOR_SLOTS": str(SLOTS),
    "LLM_PROVIDER": "compatible",
    "LLM_MODEL": "mock",
    "LLM_PRICES": '{"mock": {"input": 1, "output": 1}}',
    "LLM_STREAM": "0",
    "LOG_LEVEL": "WARNING",
}
django.setup()

from autoresearch_site.bootstrap import migrate_embedded  # noqa: E402 - Django first
from autoresearch_site.local import ensure_servers  # noqa: E402
from autoresearch_site.stack import Stack  # noqa: E402
from specialists.launch import LaunchSettings, launch_campaign  # noqa: E402
from trials.models import Campaign, Trial  # noqa: E402
from trials.report import build_report  # noqa: E402
from trials.vocab import LIVE_CAMPAIGN_STATES, CampaignState  # noqa: E402

TRIALS, QUICK_TRIALS = 2_000, 200
#: Trials with ten slots, and with one.
WAITING, QUICK_WAITING = (240, 24), (60, 6)
#: Share of the trials that is not counted because everything starts; windows of the rest.
WARM, WINDOWS = 0.05, 10
LOOK_SECONDS = 0.5
ETA, FLAT, OPENEVOLVE_SHARE, SHINKA_SHARE = 0.97, 1.1, 1 / 3, 1 / 10


@dataclass(frozen=True)
class Look:
    """So far: finished trials, CPU seconds of the system, CPU seconds of its evaluations."""

    trials: int
    system: float
    evaluations: float


class Watch(threading.Thread):
    """Looks at a running system twice a second until it is told to stop."""

    def __init__(self, look: Callable[[], Look]) -> None:
        super().__init__(daemon=True)
        self.look, self.looks, self.over = look, list[Look](), threading.Event()

    def run(self) -> None:
        while not self.over.wait(LOOK_SECONDS):
            self.looks.append(self.look())

    def stop(self) -> list[Look]:
        self.over.set()
        self.join()
        return self.looks


def at(looks: Sequence[Look], trials: float, what: str) -> float:
    """CPU seconds when so many trials were finished, between the looks in a straight line."""
    before = max((look for look in looks if look.trials <= trials), key=lambda look: look.trials, default=looks[0])
    after = min((look for look in looks if look.trials >= trials), key=lambda look: look.trials, default=looks[-1])
    low, high = getattr(before, what), getattr(after, what)
    share = (trials - before.trials) / (after.trials - before.trials) if after.trials > before.trials else 0.0
    return float(low + share * (high - low))


def per_trial(looks: Sequence[Look], trials: int, what: str = "system") -> list[float]:
    """CPU milliseconds per trial in each of the windows."""
    first = WARM * trials
    edges = [first + (trials - first) * window / WINDOWS for window in range(WINDOWS + 1)]
    spent = [at(looks, edge, what) for edge in edges]
    width = (trials - first) / WINDOWS
    return [1000 * (after - before) / width for before, after in pairwise(spent)]


def ours(campaign: Campaign, stack: int) -> Look:
    """The stack's processes and the embedded servers; what evaluators started is evaluation."""
    found = processes.table()
    servers = [one.pid for one in found.values() if str(WORK / "data") in one.command and one.pid != os.getpid()]
    everything = processes.below([stack, *servers], found) - {os.getpid()}
    leaders = {pid for pid in everything if " ev@" in found[pid].command}
    pool = {pid for pid in everything if pid in leaders or found[pid].parent in leaders}
    started = processes.below(pool, found) - pool
    evaluations = processes.spent(started, found) + sum(found[pid].ended for pid in pool)
    trials = Campaign.objects.values_list("trial_count", flat=True).get(pk=campaign.pk)
    return Look(trials, processes.spent(everything, found) - evaluations, evaluations)


def theirs(root: int, log: Path) -> Look:
    """The rival's processes; each line of the log is the CPU seconds of one evaluation."""
    found = processes.table()
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    evaluations = sum(float(line) for line in lines)
    return Look(len(lines), processes.spent(processes.below([root], found), found) - evaluations, evaluations)


def search(trials: int, slots: int, profile: str) -> Campaign:
    """Launch a campaign of the task."""
    chosen = LaunchSettings(
        swarm_task.NAME, profile, "generic-10", "llm", keep_rule="strict", trials=trials, slots=slots,
        usd=1e6, hours=24.0,
    )  # fmt: skip
    return launch_campaign(chosen, actor="benchmark")


def ended(campaign: Campaign, stack: Stack) -> Campaign:
    """The campaign when it has ended as planned."""
    while campaign.state in LIVE_CAMPAIGN_STATES and campaign.state != CampaignState.PAUSED:
        stack.check()
        time.sleep(LOOK_SECONDS)
        campaign.refresh_from_db()
    if campaign.state != CampaignState.FINISHED:
        raise RuntimeError(f"campaign {campaign.slug} is {campaign.state}: {campaign.state_reason}")
    return campaign


def throughput(campaign: Campaign) -> float:
    """Trials per second from the first submission to the last record, the baseline left out."""
    rows = Trial.objects.of(campaign.pk).filter(number__gt=0).values_list("submitted_at", "finished_at")
    begun, done = zip(*rows, strict=True)
    return len(done) / float((max(done) - min(begun)).total_seconds())


def efficiency(report: Report, stack: Stack, counts: tuple[int, int]) -> None:
    """Ten slots, then one."""
    rates = {}
    for slots, trials in zip((SLOTS, 1), counts, strict=True):
        campaign = ended(search(trials, slots, "wait"), stack)
        rates[slots] = throughput(campaign)
        own = build_report(campaign).body["parallel_efficiency"]
        report.rows.append(
            {
                "what": "efficiency", "slots": slots, "trials": trials, "trials_per_s": round(rates[slots], 4),
                "of_5_s": round(rates[slots] * swarm_task.WAIT_SECONDS / slots, 4), "report_says": round(own, 4),
                "load_average": round(os.getloadavg()[0], 1),
            }
        )  # fmt: skip
        say(report)
    report.targets["eta_10"] = at_least(round(rates[SLOTS] / (SLOTS * rates[1]), 4), ETA)


def watched(look: Callable[[], Look], until: Callable[[], object]) -> list[Look]:
    """What was seen while ``until`` ran."""
    watch = Watch(look)
    watch.start()
    try:
        until()
    finally:
        looks = watch.stop()
    return [*looks, look()]


def rival(report: Report, system: Rival, url: str, trials: int) -> list[float]:
    """Run a rival to its end."""
    folder = WORK / system.name
    folder.mkdir()
    (folder / "program.py").write_text(swarm_task.program(), encoding="utf-8")
    log = folder / "trials.log"
    process = system.start(folder, url, trials, CPU_SLOTS)
    looks: list[Look] = []
    try:
        while process.poll() is None and (not looks or looks[-1].trials < trials):
            time.sleep(LOOK_SECONDS)
            looks.append(theirs(process.pid, log))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if looks[-1].trials < 0.9 * trials:
        raise RuntimeError(f"{system.name} ended after {looks[-1].trials} of {trials} trials: see {folder}/output.log")
    return windows(report, system.name, looks, looks[-1].trials)


def windows(report: Report, name: str, looks: list[Look], trials: int) -> list[float]:
    """One row for a system; returns CPU milliseconds per trial of each window."""
    system, evaluations = per_trial(looks, trials), per_trial(looks, trials, "evaluations")
    growth = round(system[-1] / system[0], 3) if system[0] else None  # few trials may take less than the clock shows
    report.rows.append(
        {
            "what": "cpu", "system": name, "trials": trials, "cpu_ms": [round(value, 1) for value in system],
            "evaluation_ms": [round(value, 1) for value in evaluations],
            "last_over_first": growth, "load_average": round(os.getloadavg()[0], 1),
        }
    )  # fmt: skip
    say(report)
    return system


def at_equal_pace(looks: Sequence[Look], trials: int) -> float | None:
    """The last window over the first, each in terms of what an evaluation cost in it; None where the clock of CPU,
    which goes by hundredths, saw nothing in one of them."""
    system, evaluations = per_trial(looks, trials), per_trial(looks, trials, "evaluations")
    ends = system[0] * evaluations[0], system[-1] * evaluations[-1]
    return round(system[-1] * evaluations[0] / (evaluations[-1] * system[0]), 3) if all(ends) else None


def say(report: Report) -> None:
    """The newest row, while the rest goes on for an hour."""
    sys.stderr.write(f"swarm: {report.rows[-1]}\n")


def swarm(report: Report, server: ModelServer, waiting: tuple[int, int], trials: int) -> list[float]:
    """This system: efficiency, then CPU milliseconds per trial of each window."""
    server.asked, server.charged = swarm_task.Tally(), swarm_task.Tally()
    os.environ["LLM_BASE_URL"] = f"{server.url}/v1"
    ensure_servers()
    migrate_embedded()
    with Stack(WORK / "data", web=False) as stack:
        assert stack._process is not None
        efficiency(report, stack, waiting)
        campaign, root = search(trials, CPU_SLOTS, "cpu"), stack._process.pid
        looks = watched(lambda: ours(campaign, root), lambda: ended(campaign, stack))
    if (growth := at_equal_pace(looks, trials)) is not None:
        report.targets["last_over_first"] = _full(report, at_most(growth, FLAT))
    return windows(report, "this", looks, trials)


def measure(report: Report) -> None:
    """Efficiency, then CPU of all three systems."""
    trials = QUICK_TRIALS if report.quick else TRIALS
    pythons = [system.python() for system in (OPENEVOLVE, SHINKA)]
    assert all(path.exists() for path in pythons)
    with ModelServer(swarm_task.model()) as server:
        own = swarm(report, server, QUICK_WAITING if report.quick else WAITING, trials)
        for system, share in ((OPENEVOLVE, OPENEVOLVE_SHARE), (SHINKA, SHINKA_SHARE)):
            other = rival(report, system, server.url, trials)
            ratio = round(own[-1] / other[-1], 3)
            report.targets[f"cpu_over_{system.name}"] = _full(report, at_most(ratio, share))


def _full(report: Report, target: Target) -> Target:
    return replace(target, ok=None) if report.quick else target


if __name__ == "__main__":
    sys.exit(run("swarm", measure))
