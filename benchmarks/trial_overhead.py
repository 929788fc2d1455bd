"""What a trial costs before it does anything: an empty recipe, cold and warm, against bare fork and bare torch import.

An empty recipe trains nothing and predicts a uniform distribution over one short text; what is left is three sandboxes,
the paired reference, and the conversation.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import django

from benchmarks.report import Report, at_most, run, spread

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")
django.setup()

from evaluators.contract import Measurement  # noqa: E402 - Django first
from evaluators.environments.parameter_golf.spec import SPEC  # noqa: E402
from evaluators.harness import language_model  # noqa: E402
from evaluators.harness.order import Order  # noqa: E402
from evaluators.sandbox import Bounds, Isolation, SandboxUnavailable, reach, spawn  # noqa: E402
from evaluators.sandbox.reach import PROBE, knowledge  # noqa: E402

RECIPE = b"""
import numpy as np

class Predictor:
    def vocabulary(self):
        return [bytes([value]) for value in range(256)]

    def encode(self, text):
        return list(text)

    def logits(self, tokens):
        return np.zeros((*tokens.shape, 256), dtype=np.float32)

def train(ctx):
    return b""

def load(artifact, ctx):
    return Predictor()
"""
EMPTY = {"recipe.py": RECIPE} | dict.fromkeys(SPEC.files, b"")
HELD_OUT = (b"To be, or not to be: " * 4,)
FORKS = """
import os, sys, time
import torch, torch._dynamo
for _ in range(int(sys.argv[1])):
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    print(1000 * (time.monotonic() - began))
"""


def empty_trial(isolation: Isolation) -> Measurement:
    """One trial of the empty recipe."""
    order = Order(
        profile=SPEC.profiles["smoke"],
        source=EMPTY,
        seed=0,
        split="validation",
        isolation=isolation,
        report=lambda _progress: None,
        train=(b"text",),
        data_sha256={},
        evaluator_sha256="",
    )
    found = language_model.measure(order, HELD_OUT)
    assert found.status == "ok", found.reason
    return found


def timed(act: Callable[[], Any], repeats: int) -> list[tuple[float, float]]:
    """(wall, CPU of this process and of children it waited for) in milliseconds, for each repeat."""
    figures = []
    for _ in range(repeats):
        before, began = os.times(), time.monotonic()
        act()
        wall, after = time.monotonic() - began, os.times()
        figures.append((1000 * wall, 1000 * (sum(after[:4]) - sum(before[:4]))))
    return figures


def trials(isolation: Isolation, repeats: int) -> list[tuple[float, float]]:
    """(wall, CPU) in milliseconds of empty trials; CPU of all sandboxes as the record has it, plus the worker's own."""
    empty_trial(isolation)  # a warm server imports once; files are cached
    figures = []
    for _ in range(repeats):
        began, own = time.monotonic(), time.process_time()
        found = empty_trial(isolation)
        cpu = sum(found.cpu_seconds.values()) + time.process_time() - own
        figures.append((1000 * (time.monotonic() - began), 1000 * cpu))
    return figures


def start(isolation: Isolation) -> None:
    """From the request to the first thing a sandbox could read."""
    with (
        knowledge() as known,
        spawn(isolation, Bounds(30, 30, 2 << 30, 1 << 20), argv=["linger", known.text], child=PROBE),
    ):
        pass


def add(report: Report, name: str, figures: list[tuple[float, float]]) -> Mapping[str, float]:
    """A row of medians; returns them."""
    wall, cpu = spread([wall for wall, _ in figures]), spread([cpu for _, cpu in figures])
    report.rows.append({"what": name, "wall_ms": wall, "cpu_ms": cpu})
    return {"wall": float(wall["median"]), "cpu": float(cpu["median"])}


def measure(report: Report) -> None:
    """Fill the report; warm and cold in turns, so that a slow minute is in both."""
    rounds = 10 if report.quick else 40
    warm, cold = reach(start="warm"), reach(start="cold")
    if warm.start != "warm":
        raise SandboxUnavailable(f"no warm start on this host: {warm.details['notes']}")
    warm_trials, cold_trials, imports = [], [], []
    for _ in range(max(3, rounds // 8)):
        imports += timed(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True), 1)
        cold_trials += trials(cold, 1)
        warm_trials += trials(warm, 8)
    forked = subprocess.run(
        [sys.executable, "-c", FORKS, str(10 * rounds)], check=True, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    fork = statistics.median(map(float, forked.stdout.split()))
    report.rows.append({"what": "bare fork of a process with torch loaded", "wall_ms": round(fork, 3)})
    add(report, "bare python -c 'import torch'", imports)
    cold_figures = add(report, f"empty trial, cold ({cold.level} {cold.backend})", cold_trials)
    warm_figures = add(report, f"empty trial, warm ({warm.level} {warm.backend})", warm_trials)
    starts = add(report, f"one warm sandbox ({warm.backend}), start and end", timed(lambda: start(warm), 2 * rounds))
    report.targets["warm_trial_wall_ms"] = at_most(warm_figures["wall"], 150.0)
    report.targets["warm_cpu_over_cold"] = at_most(round(warm_figures["cpu"] / cold_figures["cpu"], 4), 1 / 20)
    report.targets["isolation_adds_ms"] = at_most(round(starts["wall"] - fork, 3), 50.0)


if __name__ == "__main__":
    raise SystemExit(run("trial_overhead", measure))
