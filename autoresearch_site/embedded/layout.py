"""Where the embedded servers keep their files, and the locks that say who uses and who owns them.

    DATA_DIR/postgres     the database cluster          DATA_DIR/pgpass   its password, libpq's format, mode 0600
    DATA_DIR/valkey       the broker's append-only file DATA_DIR/log      server logs
    DATA_DIR/run          mode 0700: sockets, locks, the supervisor's state

``users.lock``: each user process holds it shared for its life; the supervisor may stop only while it holds it alone.
``supervisor.lock``: held by the supervisor for its life. ``start.lock``: held by the one user that starts it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_LIMIT = 107  # bytes that fit in sockaddr_un.sun_path, unix(7)
POSTGRES_PORT = 5432  # names the socket file only; TCP is off
DATABASE = "autoresearch"


class EmbeddedError(RuntimeError):
    """The embedded database or broker cannot be had; the message is one line: what, where, what was expected."""


@dataclass(frozen=True)
class Layout:
    """All paths below one DATA_DIR."""

    data_dir: Path

    @property
    def run(self) -> Path:
        return self.data_dir / "run"

    @property
    def log(self) -> Path:
        return self.data_dir / "log"

    @property
    def postgres(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def postgres_socket(self) -> Path:
        return self.run / f".s.PGSQL.{POSTGRES_PORT}"

    @property
    def pgpass(self) -> Path:
        return self.data_dir / "pgpass"

    @property
    def valkey(self) -> Path:
        return self.data_dir / "valkey"

    @property
    def valkey_socket(self) -> Path:
        return self.run / "valkey.sock"

    @property
    def users_lock(self) -> Path:
        return self.run / "users.lock"

    @property
    def supervisor_lock(self) -> Path:
        return self.run / "supervisor.lock"

    @property
    def start_lock(self) -> Path:
        return self.run / "start.lock"

    @property
    def state(self) -> Path:
        return self.run / "embedded.json"

    def want(self, server: str) -> Path:
        """The file by which a user asks the supervisor for ``server`` (``database`` or ``broker``)."""
        return self.run / f"want-{server}"

    def check(self) -> None:
        """Raise EmbeddedError when a socket below this DATA_DIR could not be named."""
        longest = max(len(os.fsencode(path)) for path in (self.postgres_socket, self.valkey_socket))
        if longest > SOCKET_PATH_LIMIT:
            room = SOCKET_PATH_LIMIT - (longest - len(os.fsencode(self.data_dir)))
            raise EmbeddedError(
                f"DATA_DIR {self.data_dir} is {len(os.fsencode(self.data_dir))} bytes long, expected at most {room}: "
                f"the sockets in it must fit in {SOCKET_PATH_LIMIT} bytes"
            )
        if any(character in str(self.data_dir) for character in ',"\\\n'):
            raise EmbeddedError(
                f"DATA_DIR {str(self.data_dir)!r} contains a comma, quote, backslash or line break, "
                "expected a path without: PostgreSQL's clients cannot name a socket there"
            )

    def make(self) -> None:
        """Create the folders (0700); raise EmbeddedError when DATA_DIR cannot be written."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.run, self.log):
                folder.mkdir(mode=0o700, exist_ok=True)
            if not os.access(self.data_dir, os.W_OK | os.X_OK) or not os.access(self.run, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise not_writable(self.data_dir, error) from None

    def read_state(self) -> dict[str, object]:
        """What the supervisor last said: ``pid``, ``database`` and ``broker`` (ready, starting or off), ``error``."""
        try:
            state = json.loads(self.state.read_bytes())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}


def not_writable(data_dir: Path, error: OSError) -> EmbeddedError:
    """The one line for a DATA_DIR that this user cannot write."""
    return EmbeddedError(
        f"DATA_DIR {data_dir} is not writable ({error.strerror}), "
        "expected a folder that this user owns: set DATA_DIR to one"
    )


class Lock:
    """An advisory file lock (flock(2)) that ends with the process; the descriptor is close-on-exec.

    A forked child shares it, an executed program does not.
    """

    def __init__(self, path: Path) -> None:
        """Open (and create, 0600) the lock file; raise EmbeddedError when that is not allowed."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise not_writable(path.parent.parent, error) from None

    def take(self, *, shared: bool = False, timeout: float = 0.0) -> bool:
        """Take the lock within ``timeout`` seconds; False when others hold it that long."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.01)

    def drop(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)

    def is_current(self) -> bool:
        """False when the file was removed or replaced: whoever comes next would lock another one."""
        try:
            there = self.path.stat()
        except OSError:
            return False
        here = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def held_by_another(path: Path) -> bool:
    """Whether some process holds the lock at ``path`` for itself alone."""
    lock = Lock(path)
    try:
        return not lock.take(shared=True)
    finally:
        lock.close()
