"""The exact command line of one sandboxed process, for each backend."""

from __future__ import annotations

import compileall
import functools
import itertools
import json
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluators.child.carrying import kernel
from evaluators.sandbox.records import NO_LOOPBACK, OPERATOR, PRIVATE, Bounds, Isolation, SandboxUnavailable
from evaluators.sandbox.view import DEVICES, ENTRY, View, open_to_others, view, view_is_open

BOX = "/box"
HOSTS = Path(__file__).resolve().with_name("hosts")
"""Names of the loopback: without any, programs ask a name server that is not there."""

ENV = "/usr/bin/env"
CARRY = ENTRY.with_name("confine_carry.py")
NOT_IN_GUEST = frozenset({"MSGQUEUE", "CPU"})
"""Limits that gVisor does not know (the filter refuses message queues everywhere), or counts by a clock that runs on
while the host is busy with others (CPU time is watched from outside)."""
OPEN_FILES = 512
GUEST_UID = 61_000  # in another kernel, where nobody else is
UID_BASE, UIDS = 0x7000_0000, 1 << 28
SLOTS = 64
_slots = itertools.count()


@dataclass(frozen=True)
class Pipes:
    """The child's ends: frames in, protocol out, the keeper's channel, the lifeline."""

    frames: int
    protocol: int
    channel: int
    lifeline: int

    def as_tuple(self) -> tuple[int, int, int, int]:
        """In the order of the child's settings."""
        return self.frames, self.protocol, self.channel, self.lifeline


def pool_uid() -> int:
    """A uid that no user and no other live sandbox has, so that its process count is its own; -1 unless root.

    Derived from this process's id and a counter: no register of slots is needed. Inside a container that maps few
    ids, one from the upper half of what it maps.
    """
    if os.geteuid() != 0:
        return -1
    number = os.getpid() * SLOTS + next(_slots) % SLOTS
    with open("/proc/self/uid_map", encoding="ascii") as file:
        first, _outside, count = max((tuple(map(int, line.split())) for line in file), key=lambda row: row[2])
    if first + count > UID_BASE + UIDS:
        return UID_BASE + number % UIDS
    half = max(1, count // 2)
    return int(first + count - half + number % half)


def environment(scratch: str, visible: str = "") -> dict[str, str]:
    """The child's whole environment: the same on every host but for the scratch path. visible: GPUs, for CUDA."""
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    return {
        "HOME": scratch,
        "TMPDIR": scratch,
        "PWD": scratch,
        "PATH": "/usr/bin:/bin",
        "USER": "recipe",
        "LOGNAME": "recipe",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": visible,
    } | {f"{name}_NUM_THREADS": "1" for name in threads}


def limits(bounds: Bounds, *, already: int, but: frozenset[str] = frozenset()) -> dict[str, int]:
    """rlimits of each process in the sandbox, by name. already: processes of the same uid outside of it. but: names of
    limits to leave out."""
    found = {
        "AS": bounds.memory_bytes,
        "CPU": int(bounds.cpu_seconds) + 2,
        "FSIZE": bounds.scratch_bytes,
        "NPROC": bounds.processes + already,
        "NOFILE": OPEN_FILES,
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
    }
    left_out = but if bounds.address_space else but | {"AS"}
    return {name: value for name, value in found.items() if name not in left_out}


def _own_processes() -> int:
    """Threads that count towards this uid's process limit on the host."""
    uid, count = os.getuid(), 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == uid:
                    count += len(os.listdir(f"{entry.path}/task"))
            except OSError:  # it ended meanwhile
                continue
    return count


@functools.cache
def bwrap_help() -> str:
    """Options that the installed bubblewrap knows. Raises SandboxUnavailable when there is none."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxUnavailable("bubblewrap (bwrap) is not installed")
    return subprocess.run([program, "--help"], capture_output=True, text=True, check=False, timeout=10).stdout


@functools.cache
def compile_child() -> None:
    """Keep byte code beside the child's modules, because children start often and never write any. A read-only
    installation goes without, at about 15 ms a start."""
    compileall.compile_dir(ENTRY.parent, maxlevels=0, quiet=2)


@functools.lru_cache(maxsize=16)
def _parents(shown: tuple[tuple[str, str], ...], others: tuple[str, ...]) -> list[str]:
    """Folders that lead to the shown and other places and are not themselves inside a shown one, parents first."""
    trees = [f"{place}/" for _source, place in shown]
    places = [place for _source, place in shown] + list(others)
    leading = {str(folder) for place in places for folder in Path(place).parents} - {"/"}
    return sorted(folder for folder in leading if not any(f"{folder}/".startswith(tree) for tree in trees))


def _bwrap(sight: View, shown: Sequence[tuple[str, str]], bounds: Bounds, *, uid: int, may_read: bool) -> list[str]:
    """Bubblewrap protects by its arguments only; this list is the policy."""
    command = [shutil.which("bwrap") or "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--hostname", "sandbox", "--new-session", "--die-with-parent", "--as-pid-1"]
    command += ["--cap-drop", "ALL"]
    if uid >= 0:  # root: a uid of its own instead of a user namespace; these go when it is taken
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", *(["CAP_DAC_READ_SEARCH"] if may_read else [])):
            command += ["--cap-add", capability]
    else:
        command.append("--unshare-user")
        if "--disable-userns" in bwrap_help():
            command.append("--disable-userns")
    devices = _devices(bounds)
    places = [place for place, _target in sight.links] + devices
    for folder in _parents(tuple(shown), tuple(places)):  # bubblewrap would make them for root only
        command += ["--perms", "0755", "--dir", folder]
    for source, place in shown:
        command += ["--ro-bind", source, place] if source else ["--size", "65536", "--tmpfs", place]
    for place, target in sight.links:
        command += ["--symlink", target, place]
    for device in devices:
        command += ["--dev-bind", device, device]
    command += ["--proc", "/proc", "--perms", "0777" if uid >= 0 else "0700", "--size", str(bounds.scratch_bytes)]
    command += ["--tmpfs", BOX, "--remount-ro", "/", "--chdir", BOX, "--clearenv"]
    for place in (place for source, place in shown if not source):
        command += ["--remount-ro", place]
    for name, value in environment(BOX, bounds.visible).items():
        command += ["--setenv", name, value]
    return [*command, "--"]


def _operator(shown: Sequence[tuple[str, str]], links: Sequence[tuple[str, str]], bounds: Bounds) -> list[str]:
    """The operator's command with its placeholders filled, and the environment behind it."""
    values = {
        "{shown}": json.dumps(shown),
        "{links}": json.dumps([link for link in links if not link[0].startswith("/dev/")]),
        "{scratch}": BOX,
        "{scratch_bytes}": str(bounds.scratch_bytes),
        "{memory_bytes}": str(bounds.memory_bytes),
    }
    words = operators_command()
    for name, value in values.items():
        words = [word.replace(name, value) for word in words]
    variables = environment(BOX, bounds.visible)
    return [*words, ENV, "-i", *(f"{name}={value}" for name, value in variables.items())]


@dataclass(frozen=True)
class Plan:
    """What one sandbox is to be: the child's settings but for its pipes, and, for a cold start, the command in front.

    uid: the one that it will have; -1: the caller's.
    """

    settings: dict[str, object]
    argv: tuple[str, ...]
    front: tuple[str, ...]
    uid: int

    def command(self, pipes: Pipes) -> list[str]:
        """Command line of a cold start."""
        settings = json.dumps(self.settings | {"pipes": pipes.as_tuple()})
        return [*self.front, view().python, "-sSB", str(ENTRY), settings, *self.argv]

    def carried(self) -> list[str]:
        """Command line of a start behind an operator's command, which passes on no pipes."""
        return [*self.front, view().python, "-sSB", str(CARRY), json.dumps(self.settings), *self.argv]


def _devices(bounds: Bounds) -> list[str]:
    """Everything that is shown below /dev, each once."""
    return list(dict.fromkeys((*DEVICES, *bounds.devices)))


def operators_command() -> list[str]:
    """The words that lead to another kernel. Raises SandboxUnavailable when there are none."""
    try:
        words = shlex.split(os.environ.get(OPERATOR, ""))
    except ValueError as error:
        raise SandboxUnavailable(f"{OPERATOR}: {error}") from error
    if not words:
        raise SandboxUnavailable(f"{OPERATOR} is not set: no command leads to another kernel")
    return words


def _check(isolation: Isolation, bounds: Bounds) -> None:
    """Raises SandboxUnavailable for what these walls cannot give."""
    if isolation.backend == "operator" and bounds.devices:
        raise SandboxUnavailable(f"{bounds.devices[0]}: the host's devices are not shown to another kernel")
    if isolation.loopback and isolation.backend not in PRIVATE:
        raise SandboxUnavailable(f"{isolation.backend}: {NO_LOOPBACK}")
    for device in bounds.devices:
        if os.path.realpath(device) != device or not os.path.exists(device):
            raise SandboxUnavailable(f"device {device!r} is not there, expected the absolute path of a device")
        if not stat.S_ISCHR(os.stat(device).st_mode):
            raise SandboxUnavailable(f"{device} is no character device; nothing else is shown for writing")


def plan(
    isolation: Isolation, bounds: Bounds, *, argv: Sequence[str], readonly: Sequence[Path], child: Path, box: str
) -> Plan:
    """Decide everything about one sandbox. box: its scratch folder on the host, used where the host's root is.

    Raises SandboxUnavailable for what its walls cannot give.
    """
    _check(isolation, bounds)
    operator = isolation.backend == "operator"
    compile_child()
    sight, uid, backend = view(), GUEST_UID if operator else pool_uid(), isolation.backend
    private = backend in PRIVATE
    extra = [str(child.resolve(strict=True)), str(ENTRY.parent)]
    mine = [(os.path.realpath(path, strict=True), os.path.abspath(path)) for path in map(str, readonly)]
    hosts = [(str(HOSTS), "/etc/hosts")] if isolation.loopback else []
    everything = {*sight.shown, *mine, *hosts, *((path, path) for path in extra)}
    shown = sorted(everything, key=lambda pair: pair[1].count("/"))
    reads = [*extra, *(source for source, _place in mine)]
    ancestors = not private
    may_read = uid >= 0 and not (view_is_open(ancestors=ancestors) and open_to_others(reads, ancestors=ancestors))
    already = 0 if private or uid >= 0 else _own_processes()
    settings: dict[str, object] = {
        "backend": backend,
        "uid": uid,
        "gid": uid,
        "may_read": may_read,
        "limits": limits(bounds, already=already),
        "scratch": BOX if private else box,
        "scratch_bytes": bounds.scratch_bytes,
        "shown": shown if backend == "unshare" else [],
        "links": sight.links if backend == "unshare" else [],
        "devices": _devices(bounds),
        "driven": bounds.devices,
        "visible": bounds.visible,
        "loopback": isolation.loopback,
        "read": [] if private else [*sight.read, *reads],
        "listed": [] if private else sight.listed,
        "search": sight.search,
    }
    front: list[str] = []
    if operator:
        settings |= {"host": kernel(), "limits": limits(bounds, already=0, but=NOT_IN_GUEST)}
        front = _operator([*shown, (ENV, ENV)], sight.links, bounds)
    elif backend == "bwrap" and isolation.start == "cold":
        front = _bwrap(sight, shown, bounds, uid=uid, may_read=may_read)
    return Plan(settings, (extra[0], *argv), tuple(front), uid)
