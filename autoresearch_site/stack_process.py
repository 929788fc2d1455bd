"""The parent of the local processes: ``python -m autoresearch_site.stack_process STARTER_PID [PORT]``; see ``stack``.

It says one line of JSON on stdout when all are started (``port``, 0 without a web process), another (``error``) when it
gives up. A process that dies is started again after a pause; one that keeps dying ends all, with its last log line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from autoresearch_site.embedded import EmbeddedError
from autoresearch_site.embedded.layout import Layout
from autoresearch_site.local import check_broker, ensure_servers
from autoresearch_site.process import adopt_orphans, bound_log, descendants, die_with_parent, kill_tree, last_line, send
from autoresearch_site.stack import StackError, bind, serving, take_lock

#: Variables that only processes which talk to a model, or launch a search that does, are given.
KEYS = frozenset({"ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LLM_API_KEY"})
_QUICK = 30.0  # seconds: a process that dies sooner after its start died quickly
_QUICK_DEATHS = 4  # in a row are too many
_PAUSES = (0.2, 1.0, 3.0, 5.0)  # before the next start, by quick deaths so far
_SHUTDOWN = ((signal.SIGTERM, 3.0), (signal.SIGQUIT, 5.0))  # finish what takes seconds; hand the rest back to the queue
_SERVERS_CHECK = 2.0
_LOG_CHECK = 60.0
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})


@dataclass
class Leader:
    """One process of the stack and the tree below it."""

    name: str
    command: Sequence[str]
    log: Path
    keep_open: tuple[int, ...] = ()
    without_keys: bool = False  # of model providers
    pid: int = 0  # 0: not running
    started: float = 0.0
    quick_deaths: int = 0
    start_at: float = 0.0

    def start(self) -> None:
        parent = os.getpid()

        def leave_with_parent() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            die_with_parent(signal.SIGKILL, parent=parent)

        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.keep_open,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not (self.without_keys and name in KEYS)},
                preexec_fn=leave_with_parent,  # noqa: PLW1509 - one thread
            )
        process.returncode = 0  # waited for by this module, together with adopted orphans
        self.pid, self.started = process.pid, time.monotonic()

    def died(self, status: int) -> None:
        """Plan the next start; raises StackError when it is not worth it."""
        self.pid = 0
        now = time.monotonic()
        self.quick_deaths = self.quick_deaths + 1 if now - self.started < _QUICK else 0
        if self.quick_deaths >= _QUICK_DEATHS:
            code = os.waitstatus_to_exitcode(status)
            how = f"exit status {code}" if code >= 0 else f"signal {-code}"
            raise StackError(f"{self.name} keeps ending ({how}): {last_line(self.log)} (log: {self.log})")
        self.start_at = now + _PAUSES[min(self.quick_deaths, len(_PAUSES) - 1)]


def leaders(layout: Layout, listener: int | None) -> list[Leader]:
    """The processes in the order in which they are stopped."""
    python, celery = [sys.executable, "-m"], [sys.executable, "-m", "celery", "-A", "autoresearch_site"]
    worker = [
        *celery,
        "worker",
        "--loglevel",
        settings.LOG_LEVEL,
        "--pool",
        "prefork",
        "--without-gossip",
        "--without-mingle",
    ]
    found = [
        Leader(
            "agents",
            [*worker, "-n", "agents@%h", "-Q", "agents,default", "-c", "2"],
            layout.log / "agents.log",
        ),
        Leader(
            "models",
            [*worker, "-n", "models@%h", "-Q", "agents.models", "-c", str(settings.AGENT_SLOTS)],
            layout.log / "models.log",
        ),
        Leader(
            "evaluators",
            [*worker, "-n", "ev@%h", "-Q", "evaluators.cpu", "-c", str(settings.EVALUATOR_SLOTS)],
            layout.log / "evaluators.log",
        ),
        Leader(
            "beat",
            [*celery, "beat", "--loglevel", settings.LOG_LEVEL, "-s", str(layout.run / "beat-schedule"), "--pidfile="],
            layout.log / "beat.log",
        ),
    ]
    for leader in found:
        leader.without_keys = leader.name != "models"
    if listener is not None:
        web = [*python, "autoresearch_site.web", str(listener)]
        found.insert(0, Leader("web", web, layout.log / "web.log", keep_open=(listener,)))
    return found


class StackProcess:
    def __init__(self, layout: Layout, leaders: list[Leader]) -> None:
        self.layout = layout
        self.leaders = leaders
        self.checked_servers = time.monotonic()
        self.checked_logs = 0.0

    def run(self) -> None:
        """Keep the processes up until a signal to stop; raises StackError, EmbeddedError."""
        while True:
            for leader in self.leaders:
                if not leader.pid and time.monotonic() >= leader.start_at:
                    leader.start()
            arrived = signal.sigtimedwait(_SIGNALS, 0.5)
            if arrived is not None and arrived.si_signo != signal.SIGCHLD:
                return
            for pid, status in self._reap():
                for leader in self.leaders:
                    if leader.pid == pid:
                        leader.died(status)
            self._housekeeping()

    def stop(self) -> None:
        """Signal the leaders only (a pool child killed apart loses its task), wait a bounded time, kill the rest."""
        for signum, seconds in _SHUTDOWN:
            for leader in self.leaders:
                if leader.pid:
                    send(leader.pid, signum)
            deadline = time.monotonic() + seconds
            while any(leader.pid for leader in self.leaders) and time.monotonic() < deadline:
                signal.sigtimedwait({signal.SIGCHLD}, 0.05)
                for pid, _ in self._reap():
                    for leader in self.leaders:
                        leader.pid = 0 if leader.pid == pid else leader.pid
        for pid in descendants(os.getpid()):
            kill_tree(pid)
        self._reap()

    def _reap(self) -> list[tuple[int, int]]:
        """Ended children: leaders, and orphans that this process adopted."""
        ended: list[tuple[int, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if not pid:
                return ended
            ended.append((pid, status))

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if now - self.checked_servers > _SERVERS_CHECK:
            self.checked_servers = now
            ensure_detached()  # their supervisor may have been killed
        if now - self.checked_logs > _LOG_CHECK:
            self.checked_logs = now
            for log in [leader.log for leader in self.leaders]:
                bound_log(log)


def ensure_detached() -> None:
    """Have the servers run, and let nobody adopt their supervisor: it outlives the stack while others use it."""
    adopt_orphans(False)
    ensure_servers()
    adopt_orphans(True)


def say(**words: object) -> None:
    """One line of JSON to the starter, who may be gone."""
    try:
        os.write(sys.stdout.fileno(), (json.dumps(words) + "\n").encode())
    except BrokenPipeError:
        return


def main(starter: int, port: int | None) -> int:
    """Run the stack; returns the exit status."""
    die_with_parent(signal.SIGTERM, parent=starter)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    layout = Layout(settings.DATA_DIR)
    try:
        listener = None if port is None else bind(port)
        bound = 0 if listener is None else int(listener.getsockname()[1])
        lock = take_lock(layout, f"process {os.getpid()}" + (f" at http://127.0.0.1:{bound}/" if bound else ""))
        if lock is None:
            raise StackError(f"DATA_DIR {layout.data_dir} is served already, by {serving(layout.data_dir)}")
        ensure_detached()
        check_broker()
        stack = StackProcess(layout, leaders(layout, None if listener is None else listener.fileno()))
        say(port=bound)
        try:
            stack.run()
        finally:
            stack.stop()
    except (StackError, EmbeddedError, ConnectionError) as error:
        say(error=" ".join(str(error).split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
