"""Self-test of the walls, run behind them: tries forbidden acts and reports each as JSON, true where it was refused.

Arguments: paths of the host that must not be readable. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from functools import partial

import confine


def refused(act: Callable[[], object]) -> bool:
    """Whether the act ends in OSError."""
    try:
        act()
    except OSError:
        return True
    return False


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


def main() -> None:
    """Write the findings to the protocol pipe."""
    now = status()
    walls = confine.confine()
    findings = {
        "host_files": all(refused(partial(os.open, path, os.O_RDONLY)) for path in sys.argv[1:]),
        "writing": refused(write_outside),
        "network": refused(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1)),
        "processes": refused(lambda: os.listdir("/proc")) or walls["backend"] != "landlock",
        "namespace": walls["backend"] == "landlock" or os.getpid() < 10,
        "not_root": os.getuid() != 0,
        "no_new_privileges": now["NoNewPrivs"] == "1",
        "seccomp": now["Seccomp"] == "2",
        "scratch": scratch_works(),
    }
    os.write(1, json.dumps(findings).encode())


main()
