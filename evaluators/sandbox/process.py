"""A running confined process: watched from outside, ended for certain."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import threading
import time
from types import TracebackType

from evaluators.sandbox import tree
from evaluators.sandbox.command import BOX
from evaluators.sandbox.log import BoundedLog
from evaluators.sandbox.records import Bounds, Exit, SandboxUnavailable

START_SECONDS = 30.0
SAMPLE_SECONDS = 0.1
SCRATCH_SECONDS = 0.5
GRACE_SECONDS = 1.0
CLEAN_SECONDS = 10.0
CHANNEL_BYTES = 1 << 16
TAIL_BYTES = 2_000


def _readable(descriptor: int, seconds: float) -> bool:
    """Whether something can be read within so many seconds; of a process's descriptor: whether it has ended."""
    return bool(select.select([descriptor], [], [], seconds)[0])


class Confined:
    """One sandboxed tree. A context manager: leaving it kills the whole tree. All methods may be called by any thread.

    stdin: raw descriptor, bytes to the child, closed by the owner or by ``close()``. stdout: raw descriptor, the
    child's protocol bytes, untrusted. pid: the outermost process, as the host sees it. walls: the report of the
    runner, made before it read anything. Keep the thread that called ``spawn`` alive: the kernel ends the tree with it.
    """

    def __init__(self, pid: int, pidfd: int, bounds: Bounds, ends: tuple[int, int, int, int, int], box: str) -> None:
        self.stdin, self.stdout, self._channel, self._lifeline, self._log_end = ends
        self.pid, self._pidfd = pid, pidfd
        self.walls: dict[str, object] = {}
        self._bounds, self._box = bounds, box
        self._began = time.monotonic()
        self._log = BoundedLog(bounds.log_bytes)
        self._lock = threading.Lock()
        self._walled, self._swept, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._cause, self._fault = "", ""
        self._said = b""
        self._told: dict[str, float] = {}
        self._seen = tree.Sample(0.0, 0, 0, ())
        self._killed_at: float | None = None
        self._exit: Exit | None = None
        self._wake_read, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, name=f"sandbox-{self.pid}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Confined:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def poll(self) -> Exit | None:
        """How it ended; None while the tree is alive."""
        return self._exit

    def wait(self, timeout: float) -> Exit | None:
        """Wait at most ``timeout`` seconds for the whole tree to be gone; None when it is still there."""
        self._ended.wait(timeout)
        return self._exit

    def dismiss(self) -> None:
        """Let the whole tree end; ``wait``, ``kill`` or ``close`` tells when it is gone."""
        self._end("killed")

    def sweep(self) -> None:
        """End all that the child has started and the child itself; returns when nothing of it is left (at most about
        2 s). The keeper above it, which runs no foreign code, is gone only after ``close``."""
        self.dismiss()
        self._swept.wait(2 * GRACE_SECONDS + 1)

    def kill(self) -> None:
        """End the whole tree; returns when it is gone (at most about 2 s)."""
        self.dismiss()
        self._ended.wait(2 * GRACE_SECONDS + 1)

    def close(self) -> None:
        """Kill what is left, close both descriptors. May be called twice."""
        self.kill()
        for name in ("stdin", "stdout"):
            with self._lock:
                descriptor = getattr(self, name)
                setattr(self, name, -1)
            if descriptor >= 0:
                os.close(descriptor)

    def cpu_seconds(self) -> float:
        """User + system seconds of the whole tree, from outside: exact after the end, else to about 0.01 s."""
        if self._exit is not None:
            return self._exit.cpu_seconds
        fresh = tree.sample(self.pid)
        with self._lock:
            self._note(fresh)
            return self._seen.cpu

    def log(self) -> bytes:
        """What the recipe printed: at most ``log_bytes`` and one line that says how much was cut from the middle."""
        return self._log.value()

    def log_tail(self) -> bytes:
        """What the recipe printed last, TAIL_BYTES at most; may be asked from any thread while it runs."""
        return self._log.last(TAIL_BYTES)

    def _note(self, fresh: tree.Sample) -> None:
        """Samples only grow: a process that was missed in one was counted in an earlier one."""
        if fresh.cpu or fresh.resident:
            largest = max(self._seen.largest, fresh.largest)
            self._seen = tree.Sample(max(self._seen.cpu, fresh.cpu), fresh.resident, largest, fresh.pids)

    def _end(self, cause: str) -> None:
        """Ask the keeper to end the tree: it sees its lifeline close."""
        with self._lock:
            if self._killed_at is not None or self._ended.is_set():
                return
            self._cause, self._killed_at = cause, time.monotonic()
            os.close(self._lifeline)
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake, b"x")

    def _watch(self) -> None:
        """Thread: whatever happens here, the tree ends and ``wait`` returns."""
        try:
            self._follow()
        except Exception as error:  # a fault of ours: no recipe may run unwatched
            self._fault = f"{type(error).__name__}: {error}"
            tree.kill(tree.sample(self.pid).pids)
        self._account()

    def _follow(self) -> None:
        """Drain the log, hear the keeper, sample the tree, enforce the bounds, until the keeper is gone."""
        poller = select.poll()
        for descriptor in (self._log_end, self._channel, self._wake_read):
            poller.register(descriptor, select.POLLIN)
        sample_at, scratch_at = self._began + SAMPLE_SECONDS, self._began + SCRATCH_SECONDS
        alive = True
        while alive:
            ready = [fd for fd, _event in poller.poll(max(1, int(1000 * (sample_at - time.monotonic()))))]
            if self._log_end in ready and not self._log.drain(self._log_end):
                poller.unregister(self._log_end)
            if self._channel in ready:
                alive = self._hear()
            if self._wake_read in ready:
                os.read(self._wake_read, 16)
            now = time.monotonic()
            if now >= sample_at:
                self._enforce(now, scratch=now >= scratch_at)
                sample_at = time.monotonic() + SAMPLE_SECONDS
                scratch_at = sample_at + SCRATCH_SECONDS if now >= scratch_at else scratch_at

    def _hear(self) -> bool:
        """Records of the keeper; False at the end of the channel: no process that was trusted with it is left."""
        piece = os.read(self._channel, CHANNEL_BYTES)
        self._said += piece
        *lines, self._said = self._said.split(b"\n")
        for record in map(json.loads, lines):
            if "walls" in record:
                walls = record["walls"]
                filtered = bytes.fromhex(walls.pop("seccomp"))
                self.walls = {**walls, "seccomp_sha256": hashlib.sha256(filtered).hexdigest()}
                self._walled.set()
            elif "fault" in record:
                self._fault = self._fault or str(record["fault"])
            else:
                self._told = record
                self._swept.set()
        return bool(piece)

    def _enforce(self, now: float, *, scratch: bool) -> None:
        orphaned = self._orphaned()
        fresh = self._seen if orphaned else tree.sample(self.pid)
        with self._lock:
            self._note(fresh)
            seen, killed_at = self._seen, self._killed_at
        bounds = self._bounds
        if killed_at is not None:
            # The keeper did not, so the host does; one that has told the end only has the scratch folder to remove.
            if now - killed_at > (CLEAN_SECONDS if self._told else GRACE_SECONDS):
                tree.kill(fresh.pids)
        elif orphaned:
            self._end("fault")
        elif now - self._began > bounds.wall_seconds:
            self._end("wall")
        elif seen.cpu > bounds.cpu_seconds:
            self._end("cpu")
        elif seen.resident > bounds.memory_bytes and self._proportional(seen) > bounds.memory_bytes:
            self._end("memory")
        elif scratch and self._overflows():
            self._end("scratch")

    def _orphaned(self) -> bool:
        """Whether the outermost process is dead while the keeper still has something to say or to do.

        Somebody on the host killed it; the kernel's parent-death signal needs a right that bubblewrap has given up
        when root's sandboxes have a uid of their own. A keeper that has ended has said so before its parent dies.
        """
        return _readable(self._pidfd, 0) and not _readable(self._channel, 0)

    def _proportional(self, seen: tree.Sample) -> int:
        exact = tree.proportional(seen.pids)
        return seen.resident if exact is None else exact

    def _overflows(self) -> bool:
        """Whether the scratch folder holds too much. A private tmpfs bounds its bytes itself, but not its entries."""
        if self._box:
            used, entries = tree.bytes_in(self._box)
            return used > self._bounds.scratch_bytes or entries > tree.ENTRIES_AT_MOST
        inside = self._seen.pids[-1] if self._seen.pids else self.pid
        return tree.entries_in_use(inside, BOX) > tree.ENTRIES_AT_MOST

    def _account(self) -> None:
        """The keeper is gone and all below it: take the outermost process's status and the final figures."""
        cpu, code = self._seen.cpu, -1
        if not _readable(self._pidfd, CLEAN_SECONDS):  # an operator's command that outlives what it has started
            tree.kill(tree.sample(self.pid).pids)
        with contextlib.suppress(ChildProcessError):  # a warm server's child, or a host process that ignores SIGCHLD
            _pid, status, used = os.wait4(self.pid, 0)
            cpu, code = max(cpu, used.ru_utime + used.ru_stime), os.waitstatus_to_exitcode(status)
        if not self._told:  # the keeper was killed by somebody else: what it kept may be left
            tree.kill(self._seen.pids)
        self._log.drain_rest(self._log_end)
        if self._box and os.path.lexists(self._box):  # the keeper could not
            with contextlib.suppress(RecursionError):
                shutil.rmtree(self._box, ignore_errors=True)
        with self._lock:
            cause = self._cause
            if self._fault or not (self._told or cause):
                cause = "fault"
                self._fault = self._fault or f"the sandbox's outermost process ended with {code}"
            # Another kernel's CPU clock is its own affair: gVisor's runs on while the host is busy with others.
            counted = 0.0 if "kernel" in self.walls else self._told.get("cpu", 0.0)
            own = os.waitstatus_to_exitcode(int(self._told["status"])) if self._told else -signal.SIGKILL
            if cause not in ("", "fault") and own != -signal.SIGKILL:
                cause = ""  # it had ended by itself before the keeper looked
            self._exit = Exit(
                code=own if not cause and own >= 0 else None,
                signal=-own if not cause and own < 0 else None,
                cpu_seconds=max(cpu, counted),
                wall_seconds=time.monotonic() - self._began,
                max_rss_bytes=max(int(self._told.get("rss", 0)), self._seen.largest),
                cause=cause,
            )
            if self._killed_at is None:
                os.close(self._lifeline)
            self._ended.set()
            for descriptor in (self._channel, self._log_end, self._wake_read, self._wake, self._pidfd):
                os.close(descriptor)
        self._swept.set()
        self._walled.set()

    def confirm(self) -> None:
        """Wait until the walls stand. Raises SandboxUnavailable, and leaves nothing, when they do not."""
        self._walled.wait(min(START_SECONDS, self._bounds.wall_seconds))
        if self.walls:
            return
        self.close()
        text = self._fault or "the walls did not stand in time"
        said = " ".join(self.log().decode(errors="replace").split())
        raise SandboxUnavailable(f"{text}: {said[-300:]}" if said else text)
