"""The process that owns both servers of one DATA_DIR: ``python -m autoresearch_site.embedded.supervisor DATA_DIR``.

It starts a server when a user asks for it, starts it again when it dies, and stops both when no user is left, on
SIGTERM, or when its DATA_DIR is removed. Users start it; see ``users``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import defaultdict, deque
from pathlib import Path

from autoresearch_site.embedded.layout import EmbeddedError, Layout, Lock
from autoresearch_site.embedded.servers import Broker, Database, Server
from autoresearch_site.process import bound_log, last_line

_GRACE = 3.0  # seconds without a user before the servers stop: commands often follow each other
_LOOK = 0.1  # seconds between two looks
_LOG_CHECK = 60.0
_DEATHS = (5, 60.0)  # so many deaths of a server within so many seconds are one too many
_STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_SIGNALS = frozenset({*_STOP, signal.SIGUSR1, signal.SIGCHLD})


class Supervisor:
    def __init__(self, layout: Layout, lock: Lock) -> None:
        self.layout = layout
        self.lock = lock
        self.users = Lock(layout.users_lock)
        self.servers: list[Server] = []
        self.deaths: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_DEATHS[0]))
        self.said: dict[str, object] = {}
        self.unused_since: float | None = None
        self.logs_checked = 0.0

    def serve(self) -> int:
        """Until nobody is left; returns the exit status."""
        error = ""
        try:
            self.servers = [Broker(self.layout), Database(self.layout)]
            while not self._over():
                for server in self.servers:
                    self._look_after(server)
                self._say()
                self._bound_logs()
        except (EmbeddedError, OSError) as fault:
            error = str(fault) or repr(fault)
        self.layout.state.unlink(missing_ok=True)  # from here on nobody takes the servers for ready
        for server in reversed(self.servers):
            server.stop()
        if error and self.layout.run.exists():  # DATA_DIR may have been removed under the servers
            self._say(error=error)
        return 1 if error else 0

    def _look_after(self, server: Server) -> None:
        if server.process is None:
            if self.layout.want(server.name).exists():
                server.start()
        elif not server.running():
            deaths = self.deaths[server.name]
            deaths.append(time.monotonic())
            if len(deaths) == _DEATHS[0] and deaths[-1] - deaths[0] < _DEATHS[1]:
                raise EmbeddedError(
                    f"the embedded {server.name} does not stay up: {last_line(server.log)} (log: {server.log})"
                )
            self._say(starting=server.name)
            server.start()

    def _say(self, *, error: str = "", starting: str = "") -> None:
        state: dict[str, object] = {"pid": os.getpid(), "error": error}
        for server in self.servers:
            if server.process is None:
                state[server.name] = "off"
            elif self.said.get(server.name) == "ready" and server.name != starting:
                state[server.name] = "ready"
            else:
                state[server.name] = "ready" if server.running() and server.ready() else "starting"
        if state != self.said:
            fresh = self.layout.state.with_suffix(".new")
            fresh.write_text(json.dumps(state))
            fresh.replace(self.layout.state)
            self.said = state

    def _over(self) -> bool:
        """Wait for a signal or the next look; True when it is time to stop: the users' lock is then held to the end."""
        starting = "starting" in self.said.values() or not self.said
        signum = signal.sigtimedwait(_SIGNALS, 0.01 if starting else _LOOK)
        if (signum is not None and signum.si_signo in _STOP) or not self.lock.is_current():
            return True
        hurry = signum is not None and signum.si_signo == signal.SIGUSR1
        if not self.users.take():
            self.unused_since = None
            return False
        now = time.monotonic()
        if self.unused_since is None:
            self.unused_since = now
        if hurry or now - self.unused_since > _GRACE:
            return True
        self.users.drop()
        return False

    def _bound_logs(self) -> None:
        if time.monotonic() - self.logs_checked > _LOG_CHECK:
            self.logs_checked = time.monotonic()
            for log in (self.layout.log / "embedded.log", *(server.log for server in self.servers)):
                bound_log(log)


def main(data_dir: Path) -> int:
    """Take the lock, go to the background (the caller waits only for that), serve."""
    os.umask(0o077)
    layout = Layout(data_dir)
    lock = Lock(layout.supervisor_lock)
    if not lock.take(timeout=2.0):
        return 0  # another supervisor was faster
    if os.fork():
        return 0  # the child shares the lock
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    return Supervisor(layout, lock).serve()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
