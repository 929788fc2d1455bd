"""Runs hostile acts in sandboxes and prints what came out, one JSON line per act. A program of its own, so that the
same acts run as root and as an ordinary user, with the interpreter that this user can reach.

Arguments: backend, start (cold or warm), and a JSON list of [name of the act, what it knows, bounds].
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from evaluators.sandbox import Bounds, Isolation, spawn
from evaluators.sandbox.records import LEVEL_OF
from evaluators.sandbox.warm import WarmServer

HOSTILE = Path(__file__).resolve().parent / "hostile"
CHECKOUT = HOSTILE.parents[2]
OF_DRIVER = ("kill_after", "loopback")


def of_sandbox(token: str) -> list[int]:
    """Processes whose command line holds the token."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError), open(f"{entry.path}/cmdline", "rb") as file:
                if token.encode() in file.read():
                    found.append(int(entry.name))
    return found


def own_addresses() -> list[str]:
    """The host's addresses on its interfaces, but for the loopback's."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _index, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(any_socket, 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
                found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in found if not address.startswith("127.")]


def knowledge(folder: str, listeners: list[socket.socket]) -> dict[str, object]:
    """Everything that a well informed attacker may know, with real sockets behind it."""
    tcp, everywhere = socket.create_server(("127.0.0.1", 0)), socket.create_server(("", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    unix, datagram = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    abstract = socket.socket(socket.AF_UNIX)
    unix.bind(f"{folder}/socket")
    datagram.bind(f"{folder}/datagram")
    abstract.bind(f"\0hostile-{os.getpid()}")
    for listener in (unix, abstract):
        listener.listen()
    listeners += [tcp, everywhere, udp, unix, datagram, abstract]
    own = Path(folder, "own")
    own.write_text("mine")
    os.chmod(folder, 0o777)
    own.chmod(0o666)
    return {
        "parent": os.getpid(),
        "port": tcp.getsockname()[1],
        "everywhere": everywhere.getsockname()[1],
        "datagrams": udp.getsockname()[1],
        "addresses": own_addresses(),
        "socket": f"{folder}/socket",
        "datagram": f"{folder}/datagram",
        "abstract": f"hostile-{os.getpid()}",
        "writable": str(own),
        "own": {name: os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup")},
        "secret": [str(own), str(CHECKOUT / "pyproject.toml"), str(CHECKOUT / "evaluators/contract.py")],
        "folders": [folder, str(CHECKOUT), str(CHECKOUT / "evaluators"), "/etc", "/home"],
    }


def run(
    isolation: Isolation, server: WarmServer, act: str, known: dict[str, object], bounds: dict[str, float]
) -> dict[str, object]:
    """One act in one sandbox."""
    usual = {"wall_seconds": 10, "cpu_seconds": 10, "memory_bytes": 1 << 29, "scratch_bytes": 1 << 20}
    token = f"hostile-{act}-{time.monotonic_ns()}"
    limits = Bounds(**{**usual, **{key: value for key, value in bounds.items() if key not in OF_DRIVER}})
    walls = replace(isolation, loopback=bool(bounds.get("loopback")))
    with spawn(walls, limits, argv=[act, json.dumps(known), token], child=HOSTILE, server=server) as box:
        if "send" in known:
            os.write(box.stdin, bytes(known["send"]))
        os.close(box.stdin)
        box.stdin = -1
        answer, early = b"", None
        if "kill_after" in bounds:
            answer = os.read(box.stdout, 1 << 16)
            time.sleep(bounds["kill_after"])
            early = box.cpu_seconds()
            box.kill()
        while piece := os.read(box.stdout, 1 << 16):
            answer += piece
        silent = box.poll() is None
        ended = box.wait(20)
    return {
        "answer": json.loads(answer) if answer else None,
        "silent_before_end": silent,
        "exit": vars(ended) if ended else None,
        "early_cpu": early,
        "log": box.log().decode(errors="replace"),
        "left": of_sandbox(token),
    }


def forked(server: WarmServer) -> list[int]:
    """Processes that have the warm server's command line and are not it."""
    return [pid for pid in of_sandbox(f'"worker": {os.getpid()}') if pid != server.pid]


def main() -> None:
    """All acts, four at a time: what two trials of one worker do to each other would show."""
    backend, start, plan = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    isolation = Isolation(LEVEL_OF[backend], "L3", "test", backend, start=start)
    server = WarmServer(preload=["json"])
    listeners: list[socket.socket] = []
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, ThreadPoolExecutor(4) as pool:
        os.environ["TMPDIR"] = tempfile.tempdir = f"{folder}/boxes"
        os.mkdir(tempfile.tempdir, 0o755)
        known = knowledge(folder, listeners)
        before = len(os.listdir("/proc/self/fd"))
        if start == "warm":
            run(isolation, server, "echo", {**known, "send": []}, {})
            known["server"] = server.pid
        waiting = [
            (act, pool.submit(run, isolation, server, act, {**known, **more}, bounds)) for act, more, bounds in plan
        ]
        for act, outcome in waiting:
            print(json.dumps({"act": act, **outcome.result()}), flush=True)
        left = [*os.listdir(tempfile.tempdir), *forked(server)]
        served = server.pid == known.get("server", 0)
        server.close()
        after = len(os.listdir("/proc/self/fd"))
        reached = len(select.select(listeners, [], [], 0)[0])
        counted = {"leaked_descriptors": after - before, "served_by_one": served, "reached": reached}
        end = {"act": "end", "left": left, **counted}
        print(json.dumps(end), flush=True)


if __name__ == "__main__":
    main()
