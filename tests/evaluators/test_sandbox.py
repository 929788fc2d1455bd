"""What hostile programs can and cannot do behind each wall, as root and as an ordinary user."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evaluators.sandbox.records import FORKABLE, LEVEL_OF
from tests.evaluators import sandbox_driver
from tests.evaluators.sandbox_driver import HOSTILE

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"
MIB = 1 << 20
PLAN: list[tuple[str, dict[str, object], dict[str, float]]] = [
    ("network", {}, {}),
    ("files", {}, {}),
    ("writing", {}, {}),
    ("processes", {}, {}),
    ("namespaces", {}, {}),
    ("parent", {}, {}),
    ("calls", {}, {}),
    ("privileges", {}, {}),
    ("surroundings", {}, {}),
    ("fork_bomb", {}, {"processes": 20}),
    ("daemons", {}, {}),
    ("breed", {}, {"kill_after": 0.3, "processes": 30}),
    ("shout", {"bytes": 32 * MIB}, {"log_bytes": 65536}),
    ("overflow", {"stay": 1.5}, {}),
    ("many_files", {"stay": 3}, {"scratch_bytes": 256 * MIB, "wall_seconds": 40, "cpu_seconds": 40}),
    ("deep", {}, {}),
    ("sleep", {}, {"wall_seconds": 0.7}),
    ("stop", {}, {"wall_seconds": 0.7}),
    ("memory", {}, {"memory_bytes": 256 * MIB}),
    ("memory_of_many", {"bytes": 100 * MIB}, {"memory_bytes": 200 * MIB}),
    ("memory_shared", {"bytes": 64 * MIB}, {"memory_bytes": 150 * MIB}),
    ("spin", {}, {"cpu_seconds": 0.4}),
    ("mute", {}, {"wall_seconds": 0.9}),
    ("burn", {"seconds": 0.3}, {}),
    ("kill_all", {}, {}),
    ("foreign", {}, {}),
    ("echo", {"send": list(range(256))}, {}),
]


def users() -> list[str]:
    """Root tests itself and an ordinary user; an ordinary user only itself."""
    return ["self", "nobody"] if os.getuid() == 0 and shutil.which("setpriv") else ["self"]


def starts() -> list[tuple[str, str]]:
    """(backend, start) of every way to start a sandbox that counts."""
    ways = [(backend, "cold") for backend in LEVEL_OF] + [(backend, "warm") for backend in FORKABLE]
    return [way for way in ways if LEVEL_OF[way[0]] in ("L3", "L2")]


def drive(
    user: str, backend: str, start: str, plan: list[tuple[str, dict[str, object], dict[str, float]]]
) -> dict[str, dict]:
    """Run the plan in a driver of this user: act -> what came out."""
    command = [sys.executable]
    if user == "nobody":
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", SYSTEM_PYTHON]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "API_KEY": "secret-of-the-worker"}
    done = subprocess.run(
        [*command, "-B", sandbox_driver.__file__, backend, start, json.dumps(plan)],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {line["act"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module", params=[(user, *start) for user in users() for start in starts()], ids="-".join)
def found(request: pytest.FixtureRequest) -> dict[str, dict]:
    """All hostile acts of one user in one backend."""
    user, backend, start = request.param
    if backend == "bwrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    if user == "nobody" and not (Path(SYSTEM_PYTHON).exists() and os.stat(ROOT).st_mode & 0o005 == 0o005):
        pytest.skip("no interpreter or checkout that another user can reach")
    return {**drive(user, backend, start, PLAN), "backend": {"name": backend, "user": user}}


def refused(outcomes: dict[str, str], *, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Those that were not refused."""
    return {what: outcome for what, outcome in outcomes.items() if outcome == "done" and what not in but}


def test_no_network_and_no_socket_of_the_host(found: dict[str, dict]) -> None:
    outcomes = found["network"]["answer"]
    assert len(outcomes) == 7
    assert refused(outcomes) == {}
    assert found["end"]["reached"] == 0


def test_no_file_of_the_host(found: dict[str, dict]) -> None:
    outcomes = found["files"]["answer"]
    # The way to the child's own folder exists in the private root, with nothing else in it; Landlock hides that too.
    way = tuple(what for what in outcomes if what.startswith("list ")) if found["backend"]["name"] != "landlock" else ()
    assert "/etc/shadow" in outcomes
    assert refused(outcomes, but=way) == {}


def test_nothing_outside_scratch_can_be_written(found: dict[str, dict]) -> None:
    outcomes = found["writing"]["answer"]
    assert outcomes["own scratch"] == "done"
    assert refused(outcomes, but=("own scratch",)) == {}


def test_each_wall_against_writing_holds_alone(found: dict[str, dict]) -> None:
    """Behind a private root there are two; the error tells which one refused."""
    outcomes = found["writing"]["answer"]
    assert outcomes["landlock"] == os.strerror(errno.EACCES)
    if found["backend"]["name"] != "landlock":
        closed = {what: outcomes[f"make in {what}"] for what in ("/", "/usr/lib", "/dev", "/etc", str(HOSTILE))}
        assert set(closed.values()) == {os.strerror(errno.EROFS)}


def test_no_namespace_is_shared_behind_a_private_root(found: dict[str, dict]) -> None:
    everything = ["mnt", "pid", "net", "ipc", "uts", "cgroup"]
    shared = everything if found["backend"]["name"] == "landlock" else []
    assert found["namespaces"]["answer"] == {"shared": shared}


def test_other_processes_are_not_seen(found: dict[str, dict]) -> None:
    assert len(found["processes"]["answer"]["seen"]) <= 2


def test_worker_and_keeper_cannot_be_touched(found: dict[str, dict]) -> None:
    outcome = found["parent"]
    assert len(outcome["answer"]) >= 10
    assert refused(outcome["answer"], but=("fd 1",)) == {}
    assert outcome["exit"]["code"] == 0


def test_dangerous_calls_are_refused(found: dict[str, dict]) -> None:
    answer = found["calls"]["answer"]
    assert len(answer) == 25
    assert {name: code for name, code in answer.items() if code not in (errno.EPERM, errno.ENOSYS)} == {}


def test_no_privilege_is_left(found: dict[str, dict]) -> None:
    answer = found["privileges"]["answer"]
    assert answer["uid"] != 0
    assert answer["no_new_privileges"] == "1"
    assert answer["seccomp"] == "2"
    assert answer["descriptors"] == [0, 1, 2]
    assert answer["core"] == [0, 0]
    held = {name: int(value, 16) for name, value in answer["capabilities"].items()}
    reading = 1 << 2  # Landlock in the host's root, interpreter in a closed home: see docs/sandbox.md
    allowed = (0, reading) if found["backend"] == {"name": "landlock", "user": "self"} else (0,)
    assert all(value in allowed for value in held.values()), held


def test_environment_is_clean_and_the_same(found: dict[str, dict]) -> None:
    answer = found["surroundings"]["answer"]
    assert "secret" not in json.dumps(answer["environment"]) + answer["first"]
    assert answer["environment"]["HOME"] == answer["environment"]["TMPDIR"] == answer["cwd"]
    assert answer["environment"]["OMP_NUM_THREADS"] == "1"
    assert answer["environment"]["PYTHONHASHSEED"] == "0"


def test_fork_bomb_is_bounded(found: dict[str, dict]) -> None:
    outcome = found["fork_bomb"]
    # In the host's root the kernel counts all processes of an ordinary user together: neighbours come and go.
    neighbours = 20 if found["backend"]["name"] == "landlock" else 0
    assert outcome["answer"]["forks"] <= 20 + neighbours
    assert outcome["answer"]["error"] == os.strerror(errno.EAGAIN)


def test_nothing_survives_its_sandbox(found: dict[str, dict]) -> None:
    assert found["daemons"]["answer"] == {"daemons": 3}
    assert set(found) == {act for act, _known, _bounds in PLAN} | {"end", "backend"}
    left = {name: outcome["left"] for name, outcome in found.items() if name != "backend"}
    assert {name: what for name, what in left.items() if what} == {}
    assert found["end"]["leaked_descriptors"] == 0
    assert found["end"]["served_by_one"] is True


def test_breeding_processes_die_at_once(found: dict[str, dict]) -> None:
    outcome = found["breed"]
    assert outcome["answer"] == {"breeding": True}
    assert outcome["exit"]["cause"] == "killed"
    assert outcome["early_cpu"] > 0.05
    assert outcome["exit"]["cpu_seconds"] >= outcome["early_cpu"] * 0.9


def test_giant_output_is_cut_and_blocks_nobody(found: dict[str, dict]) -> None:
    outcome = found["shout"]
    assert outcome["exit"]["code"] == 0
    assert outcome["answer"]["written"] >= 32 * MIB
    assert "bytes cut" in outcome["log"]
    assert 60_000 < len(outcome["log"]) < 66_000


def test_scratch_overflow_is_bounded(found: dict[str, dict]) -> None:
    outcome = found["overflow"]
    if found["backend"]["name"] == "landlock":
        assert outcome["exit"]["cause"] == "scratch"
    else:
        assert outcome["answer"]["written"] <= MIB
        assert outcome["answer"]["error"] == os.strerror(errno.ENOSPC)


def test_many_empty_files_are_bounded(found: dict[str, dict]) -> None:
    outcome = found["many_files"]
    assert outcome["exit"]["cause"] == "scratch" or "No space left" in outcome["log"]


@pytest.mark.parametrize("act", ["sleep", "stop"])
def test_waiting_for_ever_ends_at_the_wall_cap(found: dict[str, dict], act: str) -> None:
    ended = found[act]["exit"]
    assert ended["cause"] == "wall"
    assert (ended["code"], ended["signal"]) == (None, None)


def test_memory_bomb_is_bounded(found: dict[str, dict]) -> None:
    assert found["memory"]["answer"]["allocated"] <= 256 * MIB
    assert found["memory"]["exit"]["code"] == 0


def test_memory_of_many_processes_is_bounded(found: dict[str, dict]) -> None:
    assert found["memory_of_many"]["exit"]["cause"] == "memory"


def test_shared_memory_is_counted_once(found: dict[str, dict]) -> None:
    outcome = found["memory_shared"]
    assert outcome["exit"]["cause"] == ""
    assert outcome["answer"] == {"held": 64 * MIB}


def test_cpu_cap_ends_the_tree(found: dict[str, dict]) -> None:
    assert found["spin"]["exit"]["cause"] == "cpu"
    assert 0.4 <= found["spin"]["exit"]["cpu_seconds"] < 5


def test_end_of_protocol_is_seen_at_once(found: dict[str, dict]) -> None:
    """Nobody but the child holds its end: a child that falls silent is heard before it is ended."""
    assert found["mute"]["silent_before_end"] is True
    assert found["mute"]["exit"]["cause"] == "wall"


def test_cpu_of_abandoned_grandchildren_is_counted(found: dict[str, dict]) -> None:
    assert found["burn"]["exit"]["code"] == 0
    assert found["burn"]["exit"]["cpu_seconds"] >= 0.6


def test_killing_everybody_leaves_worker_and_verdict(found: dict[str, dict]) -> None:
    ended = found["kill_all"]["exit"]
    assert (ended["code"], ended["signal"], ended["cause"]) in ((0, None, ""), (None, signal.SIGKILL, ""))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 is a mode of x86_64")
def test_calls_of_another_architecture_kill(found: dict[str, dict]) -> None:
    assert found["foreign"]["exit"]["signal"] == signal.SIGSYS
    assert found["foreign"]["answer"] is None


def test_frames_reach_the_child(found: dict[str, dict]) -> None:
    assert found["echo"]["answer"] == {"bytes": 256, "sum": sum(range(256)) % 65521}
