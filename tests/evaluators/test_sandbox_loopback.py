"""A loopback for programs of several processes: they meet there, and nobody else is met. Devices that are shown."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluators.sandbox import Bounds, Isolation, SandboxUnavailable, reach, spawn
from evaluators.sandbox.reach import FORCE
from evaluators.sandbox.records import LEVEL_OF, PRIVATE
from evaluators.sandbox.warm import WarmServer, warm_server
from tests.evaluators.sandbox_driver import HOSTILE
from tests.evaluators.test_sandbox import drive, refused, starts, users

MEETING = {"meeting": 23456, "seconds": 1.0}
WITH = {"loopback": 1}
PLAN: list[tuple[str, dict[str, object], dict[str, float]]] = [
    ("neighbour", dict(MEETING), dict(WITH)),
    ("other_neighbour", dict(MEETING), dict(WITH)),
    ("meet", {}, dict(WITH)),
    ("leave_network", {}, dict(WITH)),
    ("host_visitor", {}, dict(WITH)),
    ("parent", {}, dict(WITH)),
]
RANDOM, TERMINAL, ENTROPY = "/dev/random", "/dev/tty", 0x80045200  # RNDGETENTCNT: who asks is told
BOUNDS = Bounds(wall_seconds=60, cpu_seconds=60, memory_bytes=2 << 30, scratch_bytes=64 << 20)
WAYS = [way for way in starts() if way[0] != "bwrap" or shutil.which("bwrap")]


@pytest.fixture(
    scope="module",
    params=[(user, *way) for user in users() for way in starts() if way[0] in PRIVATE],
    ids="-".join,
)
def found(request: pytest.FixtureRequest) -> dict[str, dict]:
    """All acts of one user in one backend, four at a time."""
    return drive(*request.param, PLAN)


@pytest.fixture(params=WAYS, ids="-".join)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    backend, start = request.param
    return Isolation(LEVEL_OF[backend], "L3", "test", backend, start=start)


@pytest.fixture(scope="module")
def server() -> Iterator[WarmServer]:
    """A warm server without torch: it starts faster."""
    with contextlib.closing(WarmServer(preload=["json"])) as quick:
        yield quick


def answer(
    isolation: Isolation, bounds: Bounds, act: str, server: WarmServer | None = None, **known: object
) -> dict[str, object]:
    """What one act says."""
    said = b""
    with spawn(isolation, bounds, argv=[act, json.dumps(known)], child=HOSTILE, server=server) as box:
        while piece := os.read(box.stdout, 1 << 16):
            said += piece
        assert said, box.log().decode(errors="replace")
    told: dict[str, object] = json.loads(said)
    return told


def test_processes_of_one_sandbox_meet_even_where_the_host_listens(found: dict[str, dict]) -> None:
    assert found["meet"]["answer"] == {"met": ["tcp", "tcp", "udp"], "interfaces": ["lo"]}, found["meet"]["log"]


def test_nothing_but_the_own_loopback_is_reached(found: dict[str, dict]) -> None:
    outcomes = found["leave_network"]["answer"]
    assert len(outcomes) >= 20
    assert refused(outcomes) == {}
    assert "waited" not in outcomes.values()
    assert outcomes["outside"] == outcomes["outside, datagram"] == os.strerror(errno.ENETUNREACH)
    assert outcomes["tcp"] == os.strerror(errno.ECONNREFUSED)
    assert found["host_visitor"]["answer"] == {"sent": "done"}
    assert found["end"]["reached"] == 0


def test_neighbours_do_not_meet(found: dict[str, dict]) -> None:
    for each in ("neighbour", "other_neighbour"):
        told = found[each]["answer"]
        assert told["visitors"] == 0, found[each]["log"]
        assert set(told["knocks"]) <= {os.strerror(errno.ENETUNREACH)}


def test_the_other_walls_stand_as_before(found: dict[str, dict]) -> None:
    assert refused(found["parent"]["answer"], but=("fd 1",)) == {}
    assert found["parent"]["exit"]["code"] == 0
    assert {name: outcome["left"] for name, outcome in found.items() if outcome["left"]} == {}


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_torch_sums_over_two_processes(start: str) -> None:
    isolation = reach("L3", start=start, loopback=True)
    assert (isolation.level, isolation.start) == ("L3", start)
    try:
        told = answer(isolation, BOUNDS, "all_reduce")
    finally:
        warm_server().close()
    assert told == {"sums": ["12", "12"], "codes": [0, 0]}


def test_the_record_says_that_there_is_a_loopback_and_that_its_walls_were_tested() -> None:
    with_one, without = (reach("L3", loopback=wanted).to_json() for wanted in (True, False))
    assert (with_one["loopback"], without["loopback"]) == (True, False)
    details = with_one["details"]
    assert isinstance(details, dict)
    assert details["network"] == "own namespace, its loopback only"
    assert {"network", "outside", "loopback", "nobody_came"} <= set(details["self_test"])
    assert set(details["self_test"].values()) == {True}
    assert without["details"]["network"] == "own namespace, sockets refused"  # type: ignore[index]


def test_without_a_namespace_a_loopback_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE, "landlock")
    with pytest.raises(SandboxUnavailable, match=r"no sandbox with a loopback .* here it would be the host's"):
        reach("L3", loopback=True)
    for backend in ("landlock", "limits"):
        with pytest.raises(SandboxUnavailable, match=f"{backend}: a loopback needs a network namespace of its own"):
            spawn(Isolation("", "", "", backend, loopback=True), BOUNDS, argv=[], child=HOSTILE)


def test_a_device_is_shown_when_asked_for_and_absent_when_not(isolation: Isolation, server: WarmServer) -> None:
    """The random device is always there, but for reading only; a terminal that nobody has says so when it is there."""
    known = {"devices": [RANDOM, TERMINAL], "request": ENTROPY}
    bounds = Bounds(30, 30, 1 << 30, 1 << 20, devices=(RANDOM, TERMINAL), visible="0")
    given = answer(isolation, bounds, "device", server, **known)
    assert given == {"devices": {RANDOM: "driven", TERMINAL: os.strerror(errno.ENXIO)}, "visible": "0"}
    absent = answer(isolation, BOUNDS, "device", server, **known)
    gone = errno.ENOENT if isolation.backend in PRIVATE else errno.EACCES
    assert absent == {"devices": {RANDOM: os.strerror(errno.EACCES), TERMINAL: os.strerror(gone)}, "visible": ""}


@pytest.mark.parametrize("path", ["/dev/no-such-device", "/dev/fd", "dev/null"])
def test_a_device_that_is_not_there_is_refused(path: str) -> None:
    bounds = Bounds(30, 30, 1 << 30, 1 << 20, devices=(path,))
    with pytest.raises(SandboxUnavailable, match="is not there, expected the absolute path of a device"):
        spawn(Isolation("", "", "", "unshare"), bounds, argv=[], child=HOSTILE)


def test_no_file_passes_for_a_device(isolation: Isolation, tmp_path: Path) -> None:
    file = tmp_path.resolve() / "disk"
    file.touch()
    with pytest.raises(SandboxUnavailable, match="is no character device"):
        spawn(isolation, Bounds(30, 30, 1 << 30, 1 << 20, devices=(str(file),)), argv=[], child=HOSTILE)


def test_address_space_is_free_where_it_is_not_to_be_limited(isolation: Isolation, server: WarmServer) -> None:
    for limited in (True, False):
        bounds = Bounds(30, 30, 1 << 30, 1 << 20, address_space=limited)
        assert answer(isolation, bounds, "reserve", server, reserve=64 << 30) == {"reserved": not limited}
