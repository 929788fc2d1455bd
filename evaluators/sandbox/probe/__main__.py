"""Self-test of the walls, run behind them: tries forbidden acts and reports each as JSON, true where it was refused.

Arguments: a mode (``check``, or ``linger`` to leave processes behind), a JSON object with what an attacker may know
(``files`` of the host, ``worker`` process id, ``sockets`` that listen, by path and abstract, ``tcp`` and ``udp`` ports
that listen on the host's loopback, ``processes`` allowed). Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import confine

libc = ctypes.CDLL(None, use_errno=True)
NEW_USER, PTRACE_ATTACH, TMPFS_SIZE = 0x10000000, 16, "size=4k"
NO_NEW_PRIVILEGES = 39  # prctl(PR_GET_NO_NEW_PRIVS)
READING = 1 << 2  # CAP_DAC_READ_SEARCH behind Landlock in the host's root: docs/sandbox.md
ALLOWED = {"HOME", "TMPDIR", "PWD", "PATH", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "CUDA_VISIBLE_DEVICES"}


OUTSIDE = ("192.0.2.1", 9)  # for documentation only (RFC 5737): nobody is there, but a host with a route would try


def refused(act: Callable[[], object]) -> bool:
    """Whether the act ends in OSError at once; one that waits in vain has left the sandbox."""
    try:
        act()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def call(function: Callable[..., int], *arguments: object) -> None:
    """A C function that returns -1 on failure. Raises OSError."""
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write_outside() -> None:
    """Make a file beside the scratch folder, in any of the places where hosts let people write."""
    last = OSError()
    for folder in ("/", "/tmp", "/var/tmp", "/dev/shm/..", "/run", "/usr/lib", "/dev", sys.prefix):  # noqa: S108
        path = os.path.join(folder, f"autoresearch-probe-{os.getpid()}")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        except OSError as error:
            last = error
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
            return
    raise last


def status() -> dict[str, str]:
    """/proc/self/status as a mapping."""
    with open(f"/proc/{os.getpid()}/status", encoding="ascii") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def scratch_works() -> bool:
    """Write, read and remove a file in the scratch folder."""
    with open("probe", "wb+") as file:
        file.write(b"x")
    os.unlink("probe")
    return os.environ["HOME"] == os.getcwd()


def large_file() -> None:
    """A file beyond the scratch folder's size."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open("large", "wb") as file:
        file.truncate(limit + 1)


def connect(path: str) -> None:
    """Reach a Unix socket of the host."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def send(address: tuple[str, int]) -> None:
    """A datagram; what it hits or misses, the owner of the address knows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", address)


def loopback_works() -> bool:
    """Whether two sockets of this sandbox can meet, and interfaces be listed."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            client.settimeout(1)
            client.connect(server.getsockname())
            client.send(b"x")
            met = server.accept()[0].recv(1) == b"x"
        return met and [name for _index, name in socket.if_nameindex()] == ["lo"]
    except OSError:
        return False


def children_are_bounded(most: int) -> bool:
    """Start processes until the kernel refuses; they end at once when this one says so."""
    gate, hold = os.pipe()
    started, bounded = 0, False
    while started <= most + 64:
        try:
            pid = os.fork()
        except OSError as error:
            bounded = error.errno == errno.EAGAIN
            break
        if pid == 0:
            os.close(hold)
            os.read(gate, 1)
            os._exit(0)
        started += 1
    os.close(hold)
    for _ in range(started):
        os.wait()
    return bounded


def touches(pid: int) -> list[Callable[[], object]]:
    """Acts against another process."""
    return [
        partial(os.kill, pid, 0),
        partial(os.open, f"/proc/{pid}/mem", os.O_RDWR),
        partial(os.listdir, f"/proc/{pid}/fd"),
        partial(resource.prlimit, pid, resource.RLIMIT_NOFILE, (64, 64)),
        partial(call, libc.ptrace, PTRACE_ATTACH, pid, 0, 0),
    ]


def open_end(pid: int, number: int) -> None:
    """Take a descriptor of another process, such as the keeper's channel. A null device is worth nothing."""
    path = f"/proc/{pid}/fd/{number}"
    if os.readlink(path) == os.devnull:
        raise OSError
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def check(known: dict[str, Any]) -> dict[str, bool]:
    """Every act once."""
    now, walls = status(), confine.confine()
    descriptors = set(os.listdir("/proc/self/fd"))
    private = walls["backend"] not in ("landlock", "limits")
    held = 0
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        held |= int(now.get(kind, "0"), 16)
    names = {name for name in os.environ if not name.startswith("PYTHON") and not name.endswith("_NUM_THREADS")}
    return {
        "host_files": all(refused(partial(os.open, path, os.O_RDONLY)) for path in known["files"]),
        "writing": refused(write_outside),
        "network": refused(lambda: socket.create_connection(("127.0.0.1", known["tcp"]), timeout=1)),
        "outside": refused(lambda: socket.create_connection(OUTSIDE, timeout=1)) and refused(partial(send, OUTSIDE)),
        "datagrams": refused(partial(send, ("127.0.0.1", known["udp"]))) or bool(walls["loopback"]),
        "loopback": loopback_works() == walls["loopback"],
        "host_sockets": all(refused(partial(connect, path)) for path in known["sockets"]),
        "processes": refused(lambda: os.listdir("/proc")) or private,
        "worker": private or all(refused(act) for act in touches(known["worker"])),
        "keeper": all(refused(partial(open_end, pid, number)) for pid in (1, os.getppid()) for number in range(16)),
        "namespace": not private or os.getpid() < 10,
        "new_namespaces": refused(partial(call, libc.unshare, NEW_USER)),
        "mounts": refused(partial(call, libc.mount, b"x", b".", b"tmpfs", 0, TMPFS_SIZE.encode())),
        "not_root": os.getuid() != 0 and refused(partial(os.setuid, 0)),
        "capabilities": held & ~(0 if private else READING) == 0,
        "no_new_privileges": libc.prctl(NO_NEW_PRIVILEGES, 0, 0, 0, 0) == 1,
        "seccomp": now["Seccomp"] == "2",
        "descriptors": descriptors <= {"0", "1", "2", "3"},  # the last is the listing's own
        "environment": names <= ALLOWED,
        "process_limit": children_are_bounded(known["processes"]),
        "file_size": refused(large_file),
        "scratch": scratch_works(),
    }


def linger() -> None:
    """Leave processes that have left the session and their parent, then wait: all must end with the sandbox."""
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(600)
            os._exit(0)
    os.write(1, b"{}")
    time.sleep(600)


mode, knowledge = sys.argv[1], json.loads(sys.argv[2])
if mode == "linger":
    linger()
else:
    os.write(1, json.dumps(check(knowledge)).encode())
