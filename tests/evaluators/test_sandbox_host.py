"""The sandbox as its worker sees it: levels, forced downgrades, exits, torch, and the worker's own death."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evaluators.sandbox import Bounds, Confined, Exit, Isolation, SandboxUnavailable, reach, spawn, warm
from evaluators.sandbox.reach import FORCE, _reach
from evaluators.sandbox.records import FORKABLE, LEVEL_OF, NOT_AT_L1, UNISOLATED
from evaluators.sandbox.warm import WarmServer, warm_server
from tests.evaluators.sandbox_driver import HOSTILE, of_sandbox

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = [name for name in LEVEL_OF if LEVEL_OF[name] in ("L3", "L2") and (name != "bwrap" or shutil.which("bwrap"))]
WAYS = [*((name, "cold") for name in BACKENDS), *((name, "warm") for name in BACKENDS if name in FORKABLE)]
BOUNDS = Bounds(wall_seconds=30, cpu_seconds=30, memory_bytes=2 << 30, scratch_bytes=8 << 20)


@pytest.fixture(params=WAYS, ids="-".join)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    """Each way to start a sandbox on this host."""
    backend, start = request.param
    return Isolation(LEVEL_OF[backend], "L3", "test", backend, start=start)


@pytest.fixture
def act(isolation: Isolation) -> Iterator[Callable[..., Confined]]:
    """Start one hostile act."""
    running: list[Confined] = []

    def start(name: str, bounds: Bounds = BOUNDS, child: Path = HOSTILE, **known: object) -> Confined:
        running.append(spawn(isolation, bounds, argv=[name, json.dumps(known)], child=child))
        return running[-1]

    yield start
    for box in running:
        box.close()


def answer(box: Confined) -> dict[str, object]:
    """All of the protocol, as JSON."""
    said = b""
    while piece := os.read(box.stdout, 1 << 16):
        said += piece
    assert said, box.log().decode(errors="replace")
    found: dict[str, object] = json.loads(said)
    return found


def ended(box: Confined) -> Exit:
    """How it ended; it must."""
    outcome = box.wait(20)
    assert outcome is not None
    return outcome


def alive(token: str, worker: int) -> list[int]:
    """Processes of a worker's sandboxes: with the token in their command line, or forked by its warm server."""
    forked = [pid for pid in of_sandbox(f'"worker": {worker}') if pid != warm_server().pid]
    return [*of_sandbox(token), *forked]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"code": 0}, (0, None)),
        ({"code": 3}, (3, None)),
        ({"signal": signal.SIGKILL}, (None, signal.SIGKILL)),
        ({"signal": signal.SIGSEGV}, (None, signal.SIGSEGV)),
    ],
)
def test_exit_code_and_signal_are_the_recipes_own(
    act: Callable[..., Confined], known: dict[str, int], expected: tuple[int | None, int | None]
) -> None:
    outcome = ended(act("leave", **known))
    assert (outcome.code, outcome.signal, outcome.cause) == (*expected, "")
    assert outcome.cpu_seconds > 0
    assert outcome.max_rss_bytes > 1 << 20


def test_exception_of_the_child_is_in_the_log(act: Callable[..., Confined]) -> None:
    box = act("no_such_act")
    assert ended(box).code == 1
    assert b"KeyError" in box.log()


def test_hashes_are_the_same_in_every_process(act: Callable[..., Confined]) -> None:
    assert answer(act("surroundings"))["hash"] == answer(act("surroundings"))["hash"]


def test_only_the_runtimes_packages_can_be_read(act: Callable[..., Confined]) -> None:
    if not importlib.util.find_spec("numpy"):
        pytest.skip("numpy is not installed")
    found = answer(act("packages"))
    readable = found["readable"]
    assert isinstance(readable, list)
    assert "numpy" in readable
    others = {"django", "pytest", "celery", "shakespeare", "bible"} & {
        name.lower().replace("-", "_") for name in importlib.metadata.packages_distributions()
    }
    assert others, "the test needs packages that must stay hidden"
    assert not others & set(readable)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_torch_trains_and_is_repeatable_behind_every_wall(act: Callable[..., Confined]) -> None:
    box = act("train")
    found = answer(box)
    assert ended(box).code == 0, box.log().decode()
    assert found["threads"] == 1
    assert found["last"] < found["first"]  # type: ignore[operator]
    assert found["kernels"] != "DEFAULT" or os.uname().machine != "x86_64"


def test_extra_paths_are_shown_and_nothing_beside_them(isolation: Isolation, tmp_path: Path) -> None:
    for name in ("shown", "beside"):
        (tmp_path / name).mkdir(mode=0o755)
        (tmp_path / name / "data").write_text("x")
    known = {"parent": 1, "secret": [str(tmp_path / name / "data") for name in ("shown", "beside")], "folders": []}
    with spawn(
        isolation, BOUNDS, argv=["files", json.dumps(known)], readonly=[tmp_path / "shown"], child=HOSTILE
    ) as box:
        found = answer(box)
    assert found[str(tmp_path / "shown/data")] == "done"
    assert found[str(tmp_path / "beside/data")] != "done"


def test_log_and_cpu_can_be_read_while_it_runs(act: Callable[..., Confined]) -> None:
    box = act("spin")
    deadline = time.monotonic() + 20
    while box.cpu_seconds() < 0.2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert box.cpu_seconds() >= 0.2
    assert box.poll() is None
    box.kill()
    assert ended(box).cause == "killed"
    assert ended(box).cpu_seconds >= 0.2


def test_a_keeper_killed_by_the_host_is_our_fault_and_leaves_nothing(act: Callable[..., Confined]) -> None:
    box = act("daemons", stay=True)
    os.read(box.stdout, 1 << 10)
    time.sleep(0.3)
    os.kill(box.pid, signal.SIGKILL)
    assert ended(box).cause == "fault"
    deadline = time.monotonic() + 2
    while alive("daemons", os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive("daemons", os.getpid()) == []


WORKER = """
import json, os, sys, time
from pathlib import Path
from evaluators.sandbox import *
box = spawn(Isolation("", "", "", sys.argv[1], start=sys.argv[4]), Bounds(60, 60, 1 << 29, 1 << 20),
            argv=["daemons", json.dumps({"stay": True}), sys.argv[2]], child=Path(sys.argv[3]))
os.read(box.stdout, 100)
print("ready", flush=True)
time.sleep(60)
"""


def test_nothing_outlives_a_worker_that_was_killed(isolation: Isolation, tmp_path: Path) -> None:
    token = f"orphan-{time.monotonic_ns()}"
    tmp_path.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, isolation.backend, token, str(HOSTILE), isolation.start],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        assert len(alive(token, worker.pid)) >= 5  # worker, keeper, runner, three daemons; the outer ones differ
        worker.kill()
    deadline = time.monotonic() + 2
    while alive(token, worker.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive(token, worker.pid) == []
    assert list(tmp_path.iterdir()) == []


def test_walls_that_cannot_be_built_are_told_before_anything_runs(isolation: Isolation, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SandboxUnavailable, match="missing"):
        spawn(isolation, BOUNDS, argv=[], readonly=[tmp_path / "missing"], child=HOSTILE)
    assert len(os.listdir("/proc/self/fd")) == before


def test_reach_names_backend_walls_and_self_test() -> None:
    found = reach("L3").to_json()
    assert json.loads(json.dumps(found)) == found
    assert found["level"] in LEVEL_OF.values()
    assert bool(found["why_lower"]) == (found["level"] != "L3")
    details = found["details"]
    assert isinstance(details, dict)
    assert set(details["self_test"].values()) == {True}
    assert len(details["seccomp_sha256"]) == 64


def test_a_warm_start_is_used_where_its_self_test_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = reach("L3", start="warm")
    assert (found.level, found.start, set(found.details["self_test"].values())) == ("L3", "warm", {True})  # type: ignore[attr-defined]
    monkeypatch.setenv(FORCE, "cold")
    assert reach("L3", start="warm").start == "cold"
    monkeypatch.setenv(FORCE, "landlock,warm")
    assert (reach("L3", start="warm").level, reach("L3", start="warm").start) == ("L2", "warm")


def test_what_a_sandbox_could_not_see_is_not_found_rather_than_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch asks for packages that it can do without: of those installed beside it, none may stop the warm server."""
    tmp_path.joinpath("asking.py").write_text(
        "import importlib.util\nassert importlib.util.find_spec('colorsys') is None\n"
        "try: import colorsys\nexcept ModuleNotFoundError: pass\nelse: raise AssertionError('found')\n"
    )
    sight = warm.view()
    seen = replace(sight, search=(*sight.search, str(tmp_path)), hidden=(*sight.hidden, "colorsys"))
    monkeypatch.setattr(warm, "view", lambda: seen)
    server = WarmServer(preload=["asking"])
    isolation = Isolation("L2", "L2", "", "landlock", start="warm")
    try:
        with spawn(isolation, BOUNDS, argv=["leave", json.dumps({"code": 3})], child=HOSTILE, server=server) as box:
            assert ended(box).code == 3
    finally:
        server.close()


def test_a_server_that_was_killed_is_started_again() -> None:
    server = WarmServer(preload=["json"])
    isolation = Isolation("L2", "L2", "", "landlock", start="warm")
    pids = []
    try:
        for _ in range(2):
            with spawn(isolation, BOUNDS, argv=["leave", json.dumps({"code": 3})], child=HOSTILE, server=server) as box:
                assert ended(box).code == 3
            pids.append(server.pid)
            os.kill(server.pid, signal.SIGKILL)
    finally:
        server.close()
    assert len(set(pids)) == 2


def test_a_server_that_cannot_import_says_so() -> None:
    server = WarmServer(preload=["json", "no_such_module"])
    with pytest.raises(SandboxUnavailable, match="no_such_module"):
        spawn(Isolation("L2", "L2", "", "landlock", start="warm"), BOUNDS, argv=[], child=HOSTILE, server=server)
    assert server.pid == 0


def test_a_server_sees_no_package_that_sandboxes_do_not_see() -> None:
    assert importlib.util.find_spec("django")
    server = WarmServer(preload=["django"])
    with pytest.raises(SandboxUnavailable, match="No module named 'django'"):
        spawn(Isolation("L2", "L2", "", "landlock", start="warm"), BOUNDS, argv=[], child=HOSTILE, server=server)


@pytest.mark.parametrize("force", [*BACKENDS, "L2"])
def test_forced_backend_is_used_and_the_downgrade_is_told(force: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE, force)
    found = reach("L3")
    assert force in (found.backend, found.level)
    assert (FORCE in found.why_lower) == (found.level != "L3")


def test_the_weakest_level_has_to_be_allowed_and_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UNISOLATED, raising=False)
    with pytest.raises(SandboxUnavailable, match=f"only with {UNISOLATED}=1"):
        reach("L1")
    monkeypatch.setenv(UNISOLATED, "1")
    monkeypatch.setenv(FORCE, "L1,cold")
    _reach.cache_clear()
    found = reach("L3")
    assert (found.level, found.backend) == ("L1", "limits")
    assert "landlock" in found.why_lower
    lacking = {name for name, holds in found.details["self_test"].items() if not holds}  # type: ignore[attr-defined]
    assert "host_files" in lacking and lacking <= NOT_AT_L1


def test_unknown_level_or_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="L9"):
        reach("L9")
    with pytest.raises(ValueError, match="L0 is no isolation and refused"):
        reach("L0")
    monkeypatch.setenv(FORCE, "wishes")
    with pytest.raises(SandboxUnavailable, match="wishes"):
        reach("L3")


def test_confine_refuses_to_vouch_for_an_open_process() -> None:
    child = ROOT / "evaluators/child"
    done = subprocess.run(
        [sys.executable, "-c", "import confine; confine.confine()"],
        env={"PYTHONPATH": str(child)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "not confined" in done.stderr


def test_what_ran_is_dead_after_a_sweep_and_the_rest_after_close(isolation: Isolation) -> None:
    bounds = Bounds(wall_seconds=30, cpu_seconds=30, memory_bytes=2 << 30, scratch_bytes=8 << 20, processes=30)
    token = f"hostile-sweep-{time.monotonic_ns()}"
    with spawn(isolation, bounds, argv=["breed", "{}", token], child=HOSTILE) as box:
        assert b"breeding" in os.read(box.stdout, 1 << 16)
        box.sweep()
        os.set_blocking(box.stdout, False)
        assert os.read(box.stdout, 1) == b""  # BlockingIOError while anybody holds the other end
    assert alive(token, os.getpid()) == []


def test_a_sandbox_may_be_started_before_it_is_waited_for(isolation: Isolation) -> None:
    with spawn(isolation, BOUNDS, argv=["echo", "{}"], child=HOSTILE, wait=False) as box:
        box.confirm()
        assert box.walls["backend"] == isolation.backend
        os.write(box.stdin, bytes([1, 2, 3]))
        os.close(box.stdin)
        box.stdin = -1
        assert answer(box) == {"bytes": 3, "sum": 6}


def test_another_child_folder_keeps_its_own_modules(tmp_path: Path) -> None:
    """The runner's modules are loaded before; a program whose modules bear the same names gets its own."""
    folder = tmp_path / "child"
    folder.mkdir()
    (folder / "frames.py").write_text("WHOSE = 'own'\n")
    (folder / "__main__.py").write_text(
        "import os, confine, frames, torch\nassert confine.confine()\nos.write(1, frames.WHOSE.encode())\n"
    )
    with spawn(reach(start="warm"), Bounds(30, 30, 2 << 30, 1 << 20), argv=(), child=folder) as confined:
        assert os.read(confined.stdout, 100) == b"own", confined.log()
