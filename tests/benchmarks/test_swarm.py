"""The pieces of the benchmark of the swarm count what they are said to count."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks import processes, swarm_task
from tests.specialists.llm_server import ModelServer

ROOT = Path(__file__).resolve().parents[2]
TINY = """
import json, sys
from benchmarks import swarm, swarm_task
from benchmarks.report import Report
from tests.specialists.llm_server import ModelServer
report = Report("swarm", True)
with ModelServer(swarm_task.model()) as server:
    own = swarm.swarm(report, server, (4, 2), 40)
print(json.dumps({"rows": report.rows, "own": own, "asked": len(server.asked)}))
"""
#: A hundred trials; from the middle on everything costs twice as much, then the system alone does.
PACES = """
import json
from benchmarks import swarm
spent = lambda trials: 0.02 * trials + 0.02 * max(0, trials - 52.5)
trials = [at / 2 for at in range(201)]
slower = [swarm.Look(at, spent(at), 3 * spent(at)) for at in trials]
growing = [swarm.Look(at, spent(at), 0.06 * at) for at in trials]
print(json.dumps([swarm.at_equal_pace(looks, 100) for looks in (slower, growing)]))
"""
BUSY = "import time\nwhile time.process_time() < {seconds}: pass\n"


def test_cpu_of_children_that_have_ended_is_in_the_sum() -> None:
    inner = [sys.executable, "-S", "-c", BUSY.format(seconds=0.4)]
    outer = (
        f"import subprocess\nsubprocess.run({inner!r})\n{BUSY.format(seconds=0.2)}\nprint('done', flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        found = processes.table()
        tree = processes.below([process.pid], found)
        assert tree == {process.pid}
        assert processes.spent(tree, found) >= 0.55  # in hundredths of a second, each figure rounded down
        process.communicate("\n")


def test_the_model_answers_rivals_by_a_block_that_fits_their_program() -> None:
    program = swarm_task.program()
    assert len(program) >= swarm_task.RECIPE_BYTES
    compile(program, "program.py", "exec")
    other = program.replace("RATE = 0.5\n", "RATE = 0.75\n")
    prompt = f"# Best programs\n{program}\n# Current Program\n{other}"
    with ModelServer(swarm_task.model()) as server:
        body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": prompt}]}).encode()
        with urllib.request.urlopen(f"{server.url}/v1/chat/completions", body) as answer:
            said = json.load(answer)["choices"][0]["message"]["content"]
    old, new = said.split("<<<<<<< SEARCH\n")[1].split("\n>>>>>>> REPLACE")[0].split("\n=======\n")
    assert old == "RATE = 0.75" and other.count(f"{old}\n") == 1
    assert new != old and new.startswith("RATE = 0.")


def test_a_tiny_swarm_goes_the_whole_way() -> None:
    done = subprocess.run([sys.executable, "-c", TINY], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert [row["what"] for row in found["rows"]] == ["efficiency", "efficiency", "cpu"]
    assert [row["trials"] for row in found["rows"]] == [4, 2, 40]
    assert found["asked"] >= 46  # each session edits and submits in one turn
    ten, one, cpu = found["rows"]
    assert 0 < one["trials_per_s"] < 1 / swarm_task.WAIT_SECONDS and ten["trials_per_s"] > 0
    assert sum(found["own"]) > 0 and sum(cpu["evaluation_ms"]) > 0


def test_growth_is_told_at_the_pace_of_the_machine() -> None:
    looked = subprocess.run([sys.executable, "-c", PACES], cwd=ROOT, capture_output=True, text=True, check=True)
    slower, growing = json.loads(looked.stdout.splitlines()[-1])
    assert slower == pytest.approx(1.0) and growing == pytest.approx(2.0)
