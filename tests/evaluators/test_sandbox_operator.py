"""L4: what an operator's command has to lead to, with gVisor behind one, and what is refused as another kernel."""

from __future__ import annotations

import json
import os
import runpy
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from evaluators.child.carrying import kernel, same_kernel
from evaluators.sandbox import Bounds, Exit, Isolation, SandboxUnavailable, reach, spawn
from evaluators.sandbox.conformance import tree_is_gone
from evaluators.sandbox.records import OPERATOR
from tests.evaluators.sandbox_driver import HOSTILE

ROOT = Path(__file__).resolve().parents[2]
RUNSC = f"{sys.executable} -IS {ROOT}/scripts/runsc_kernel.py {{scratch}} {{scratch_bytes}} {{shown}} {{links}}"
L4 = Isolation("L4", "L4", "", "operator")
BOUNDS = Bounds(wall_seconds=60, cpu_seconds=60, memory_bytes=1 << 30, scratch_bytes=1 << 20, processes=20)
MIB = 1 << 20


@pytest.fixture
def gvisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """gVisor as the operator's command."""
    if os.getuid() != 0 or shutil.which("runsc") is None:
        pytest.skip("gVisor (runsc) is not installed, or this is not root")
    monkeypatch.setenv(OPERATOR, RUNSC)


def outcome(act: str, bounds: Bounds = BOUNDS, send: bytes = b"", **known: object) -> tuple[dict, Exit, bytes]:
    """What one hostile act says, how it ended, its log."""
    with spawn(L4, bounds, argv=[act, json.dumps(known)], child=HOSTILE) as box:
        while send:
            send = send[os.write(box.stdin, send) :]
        os.close(box.stdin)
        box.stdin = -1
        said = b""
        while piece := os.read(box.stdout, MIB):
            said += piece
        ended = box.wait(60)
        assert ended is not None
        return json.loads(said) if said else {}, ended, box.log()


def test_gvisor_passes_the_whole_self_test_and_is_another_kernel(gvisor: None) -> None:
    found = reach("L4", start="warm")
    assert (found.level, found.backend, found.start, found.why_lower) == ("L4", "operator", "cold", "")
    record = found.to_json()
    details = record["details"]
    assert isinstance(details, dict)
    assert set(details["self_test"].values()) == {True} and "own_kernel" in details["self_test"]
    assert details["guest"]["version"] != os.uname().version
    assert details["command"] == RUNSC
    assert details["network"] == "another kernel's, sockets refused"
    assert json.loads(json.dumps(record)) == record
    assert tree_is_gone(found)
    assert reach("L3").level == "L3"


@pytest.mark.parametrize(("source", "covered"), [("/srv/checkout", True), ("/tmp/checkout", False), ("/tmp", False)])
def test_the_folder_that_gvisor_would_add_is_covered(source: str, covered: bool) -> None:
    mounts = runpy.run_path(str(ROOT / "scripts/runsc_kernel.py"))["mounts"]([[source, source]], "/scratch", "1")
    assert [each["options"] for each in mounts if each["destination"] == "/tmp" and each["type"] == "tmpfs"] == (
        [["ro"]] if covered else []
    )


def test_gvisor_has_a_loopback_where_one_is_asked_for(gvisor: None) -> None:
    found = reach("L4", loopback=True)
    assert (found.level, found.loopback) == ("L4", True)
    assert found.details["network"] == "another kernel's, its loopback only"


def test_frames_protocol_log_and_exit_are_carried_both_ways(gvisor: None) -> None:
    data = bytes(range(256)) * (3 * MIB // 256)
    answer, ended, _log = outcome("echo", send=data)
    assert answer == {"bytes": len(data), "sum": sum(data) % 65521}
    assert (ended.code, ended.signal, ended.cause) == (0, None, "")
    assert ended.cpu_seconds > 0 and ended.max_rss_bytes > MIB
    _answer, ended, log = outcome("leave", code=3)
    assert (ended.code, ended.cause, log) == (3, "", b"")
    _answer, ended, log = outcome("leave", signal=9)
    assert (ended.code, ended.signal, ended.cause) == (None, 9, "")
    _answer, ended, log = outcome("no_such_act")
    assert ended.code == 1 and b"KeyError" in log


def test_bounds_hold_in_another_kernel(gvisor: None) -> None:
    answer, ended, _log = outcome("fork_bomb")
    assert (answer["forks"] <= 20, ended.code) == (True, 0)
    assert outcome("overflow", stay=0)[0]["written"] <= MIB
    _answer, ended, _log = outcome("mute", Bounds(6, 60, 1 << 30, MIB))
    assert ended.cause == "wall"
    _answer, ended, _log = outcome("spin", Bounds(60, 3, 1 << 30, MIB))
    assert ended.cause == "cpu"


WORKER = """
import json, os, sys, time
from pathlib import Path
from evaluators.sandbox import *
from evaluators.sandbox import tree
box = spawn(Isolation("", "", "", "operator"), Bounds(60, 60, 1 << 29, 1 << 20),
            argv=["daemons", json.dumps({"stay": True})], child=Path(sys.argv[1]))
os.read(box.stdout, 100)
print(*tree.sample(box.pid).pids, flush=True)
time.sleep(60)
"""


def test_nothing_outlives_a_worker_that_was_killed(gvisor: None) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(HOSTILE)],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], OPERATOR: RUNSC},
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None
        watched = [os.pidfd_open(int(pid)) for pid in worker.stdout.readline().split()]
        worker.kill()
    assert len(watched) >= 3
    deadline = time.monotonic() + 90  # the kernel ends one after the other; 26 s were seen on a busy machine
    for each in watched:
        assert select.select([each], [], [], max(0.0, deadline - time.monotonic()))[0]
        os.close(each)


def test_devices_of_the_host_are_not_shown_to_another_kernel(gvisor: None) -> None:
    with pytest.raises(SandboxUnavailable, match="/dev/random: the host's devices are not shown to another kernel"):
        outcome("device", Bounds(60, 60, 1 << 30, MIB, devices=("/dev/random",)))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", f"{OPERATOR} is not set: no command leads to another kernel"),
        ("env", "the command leads to the host's own kernel"),
        ("unshare --uts --mount", "the command leads to the host's own kernel"),
        ("false", "the sandbox's outermost process ended with 1"),
        ("sh -c 'echo no such guest >&2; exit 3'", "outermost process ended with 3: no such guest"),
        ("/no/such/command", "could not be started"),
        ("'one quote", f"{OPERATOR}: No closing quotation"),
    ],
)
def test_a_command_that_leads_to_no_other_kernel_is_a_downgrade_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, command: str, reason: str
) -> None:
    monkeypatch.setenv(OPERATOR, command)
    before = len(os.listdir("/proc/self/fd"))
    found = reach("L4")
    assert (found.level, found.wanted) == ("L3", "L4")
    assert f"cold operator: {reason}" in found.why_lower or reason in found.why_lower
    assert found.details["notes"]
    with pytest.raises(SandboxUnavailable):
        spawn(L4, BOUNDS, argv=[], child=HOSTILE)
    deadline = time.monotonic() + 5  # the threads that carried close their ends
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_command_line_lists_l4_and_says_why_it_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(OPERATOR, raising=False)
    with pytest.raises(CommandError, match=f"L4 is not available on this host: operator cold: {OPERATOR} is not set"):
        call_command("selftest", "--level", "L4")
    assert f"L4  operator  cold  not available  -             {OPERATOR} is not set" in capsys.readouterr().out


def test_kernels_are_told_apart_by_their_boot_or_else_by_their_build() -> None:
    here = kernel()
    assert same_kernel(here, kernel())
    assert not same_kernel(here, {**here, "boot": "another boot of the same build"})
    assert not same_kernel(here, {**here, "boot": "", "version": "#1 another build"})
    assert same_kernel(here, {**here, "boot": "", "release": "as uname26 would say"})


def test_a_worker_wants_another_kernel_where_a_command_leads_to_one() -> None:
    code = "from evaluators.announce import WANTED_LEVEL; print(WANTED_LEVEL)"
    for variables, wanted in (({}, "L3"), ({OPERATOR: "env"}, "L4")):
        environment = {**os.environ, OPERATOR: "", "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings", **variables}
        done = subprocess.run(
            [sys.executable, "-c", f"import django; django.setup(); {code}"],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == wanted
