"""Hosts that share nothing but a network: network namespaces on a bridge, each with folders and a host name of its own.

Needs root. What a host writes lies on two small tmpfs, so that its disk can be filled without harm to the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from autoresearch_site.process import descendants, send

ROOT = Path(__file__).resolve().parent.parent
CLOCK = Path(__file__).with_name("stepped_clock.c")
"""Debian 12's libfaketime breaks the sleeping of Python 3.11, which is by the monotonic clock."""
DISK_MB = 48
STEP = struct.Struct("q")
ENDS_WITHIN = 25.0


class CannotMake(RuntimeError):
    """This machine does not allow what a host is made of."""


def run(*words: str) -> None:
    """Raises CannotMake."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMake(f"{' '.join(words)}: {done.stderr.strip()}")


def clock_stepper(folder: Path) -> Path | None:
    """The library that gives a process a wall clock of its own; None where no compiler is installed."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "stepped_clock.so"
    run(compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(CLOCK))
    return library


class Network:
    """A bridge; this process and its servers are at ``address``."""

    def __init__(self, number: int) -> None:
        self.name, self.number = f"arc{number}", number
        self.address = self.at(1)

    def at(self, host: int) -> str:
        return f"10.77.{self.number}.{host}"

    def __enter__(self) -> Network:
        run("ip", "link", "add", self.name, "type", "bridge")
        run("ip", "address", "add", f"{self.address}/24", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        return self

    def __exit__(self, *_: object) -> None:
        run("ip", "link", "delete", self.name)


class Host:
    """One namespace. ``folder`` has ``data`` (DATA_DIR), ``tmp`` (TMPDIR) and ``log``."""

    def __init__(self, network: Network, number: int, folder: Path, stepper: Path | None) -> None:
        self.network, self.number, self.folder = network, number, folder
        self.name = f"{network.name}h{number}"
        self.wire = f"{network.name}v{number}"
        self.stepper = stepper
        self.clocks: dict[str, Path] = {}

    def __enter__(self) -> Host:
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.wire, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", self.wire, "master", self.network.name, "up")
        inside = ("ip", "-n", self.name)
        run(*inside, "address", "add", f"{self.network.at(10 + self.number)}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")
        for name in ("data", "tmp"):
            disk = self.folder / name
            disk.mkdir(parents=True)
            run("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", str(disk))
        (self.folder / "log").mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("data", "tmp"):
            run("umount", "--lazy", str(self.folder / name))
        run("ip", "netns", "delete", self.name)

    def start(self, role: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """A process of this host, in a session of its own, with a clock of its own where there is a C compiler."""
        variables = {
            **os.environ, "DATA_DIR": str(self.folder / "data"), "TMPDIR": str(self.folder / "tmp"),
        }  # fmt: skip
        if self.stepper is not None:
            clock = self.clocks.setdefault(role, self.folder / f"{role}.clock")
            if not clock.exists():
                clock.write_bytes(STEP.pack(0))
            variables |= {"LD_PRELOAD": str(self.stepper), "STEPPED_CLOCK": str(clock)}
        inside = f'hostname {self.name} && exec "$@"'
        with (self.folder / "log" / f"{role}.log").open("ab") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", inside, "sh", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=variables, start_new_session=True,
            )  # fmt: skip

    def cut(self) -> None:
        run("ip", "link", "set", self.wire, "down")

    def heal(self) -> None:
        run("ip", "link", "set", self.wire, "up")

    def fill(self, disk: str) -> Path:
        """Write until the disk is full; the caller removes the file."""
        path = self.folder / disk / "filler"
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
            while True:
                stream.write(b"\0" * 65536)
        return path

    def step_clock(self, role: str, seconds: float) -> None:
        """Set the clock of a role's processes so far from the true time."""
        if role in self.clocks:
            with self.clocks[role].open("r+b") as stream:
                stream.write(STEP.pack(int(seconds)))


class Process:
    """A role on a host that is kept up: whoever kills it starts it again."""

    def __init__(self, host: Host, role: str, command: Sequence[str]) -> None:
        self.host, self.role, self.command = host, role, command
        self.name = f"{role}@{host.number}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = self.host.start(self.role, self.command)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tree(self) -> list[int]:
        assert self.process is not None
        return [self.process.pid, *descendants(self.process.pid)]

    def children(self) -> list[int]:
        """Its pool's processes."""
        assert self.process is not None
        return [int(pid) for pid in _children(self.process.pid)]

    def signal(self, signum: int, *, whole: bool = False) -> None:
        if self.alive:
            assert self.process is not None
            for pid in self.tree() if whole else [self.process.pid]:
                send(pid, signum)

    def kill(self) -> None:
        """SIGKILL to the leader alone: the rest has to notice."""
        self.signal(signal.SIGKILL)
        self.reap()

    def end(self) -> None:
        """In good order: what it has in hand is finished or handed back within a bounded time."""
        self.signal(signal.SIGCONT, whole=True)
        self.signal(signal.SIGTERM)
        self.reap()

    def reap(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]
