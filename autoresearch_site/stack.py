"""The local processes of one machine (web, workers, beat), run for as long as a ``with Stack(...)`` block lasts.

They belong to a process of their own (``stack_process``), so that a killed command takes them along and a busy one
cannot neglect them. One stack serves a DATA_DIR; a second one that brings no web process leans on the first.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from autoresearch_site.embedded.layout import Layout, Lock, held_by_another
from autoresearch_site.process import kill_tree, last_line

_STARTED_WITHIN = 120.0  # seconds, the embedded servers' start included
_STOPPED_WITHIN = 20.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[1]


class StackError(RuntimeError):
    """The local processes cannot be started or kept up; the message is one line."""


class Stack:
    """Workers and beat for ``data_dir`` and, with ``web``, the site at 127.0.0.1:``port`` (0: any free port)."""

    def __init__(self, data_dir: Path, *, web: bool = True, port: int = 8000) -> None:
        self.layout = Layout(data_dir)
        self.web = web
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start; raises StackError (port taken, another stack there, a process that does not come up)."""
        self.layout.make()
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop()

    def check(self) -> None:
        """Raise StackError when the processes ended; replace another stack that served this DATA_DIR and has gone."""
        if self._process is None:
            if not held_by_another(lock_file(self.layout)):
                self._start()
        elif self._process.poll() is not None:
            raise StackError(
                self._last_words() or f"the local processes ended, expected them to run: see {self.layout.log}"
            )

    def wait(self) -> None:
        """Block for as long as all goes well; raises StackError as ``check`` does."""
        while True:
            self.check()
            time.sleep(0.5)

    def _start(self) -> None:
        if other := serving(self.layout.data_dir):
            if self.web:
                raise StackError(f"DATA_DIR {self.layout.data_dir} is served already, by {other}: stop that first")
            return
        command = [sys.executable, "-m", "autoresearch_site.stack_process", str(os.getpid())]
        self._process = subprocess.Popen(
            command + ([str(self.port)] if self.web else []),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None,
            cwd=_PACKAGE_ROOT,
            env=os.environ
            | {
                "DATA_DIR": str(self.layout.data_dir),
                "DJANGO_SETTINGS_MODULE": "autoresearch_site.settings",
                "PYTHONUNBUFFERED": "1",
            },
            start_new_session=True,  # a terminal's Ctrl-C reaches this process only, which then stops them in order
        )
        words = self._words(time.monotonic() + _STARTED_WITHIN)
        if "error" in words:
            raise StackError(str(words["error"]))
        if "port" not in words:
            raise StackError(f"the local processes did not start: {last_line(self.layout.log / 'stack.log')}")
        self.port = int(str(words["port"]))

    def _words(self, deadline: float) -> dict[str, object]:
        """The next line of JSON from the process; empty when it ended or said nothing until ``deadline``."""
        assert self._process is not None
        assert self._process.stdout is not None
        stream = self._process.stdout
        if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return {}
        line = stream.readline()
        words = json.loads(line) if line else {}
        return words if isinstance(words, dict) else {}

    def _last_words(self) -> str:
        return str(self._words(time.monotonic() + 1.0).get("error", ""))

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=_STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def lock_file(layout: Layout) -> Path:
    """Held by the process that runs the stack; its text says who that is."""
    return layout.run / "stack.lock"


def serving(data_dir: Path) -> str:
    """Who runs a stack for ``data_dir`` now (``process 123 at http://...``); empty when nobody does."""
    path = lock_file(Layout(data_dir))
    if not path.exists() or not held_by_another(path):
        return ""
    return path.read_text().strip() or "another process"


def bind(port: int) -> socket.socket:
    """A listening socket at 127.0.0.1:``port``; raises StackError when it is taken or not allowed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise StackError(
            f"port {port} of 127.0.0.1 cannot be used ({error.strerror}), expected a free one: set PORT to another"
        ) from None
    return listener


def take_lock(layout: Layout, text: str) -> Lock | None:
    """Become the one stack of this DATA_DIR; None when there is one."""
    lock = Lock(lock_file(layout))
    if not lock.take(timeout=2.0):
        lock.close()
        return None
    lock_file(layout).write_text(text + "\n")
    return lock
