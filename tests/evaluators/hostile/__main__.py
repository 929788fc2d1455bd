"""Hostile little programs. Each tries what a recipe must not be able to do and reports what happened, as JSON.

Arguments: name of the act, and a JSON object with what the attacker is assumed to know (pids, paths, ports).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import stat
import sys
import time

from bombs import (  # noqa: F401 - found by name
    breed,
    daemons,
    deep,
    fork_bomb,
    make,
    many_files,
    memory,
    memory_of_many,
    memory_shared,
    overflow,
    report,
    shout,
)
from meeting import (  # noqa: F401 - found by name
    all_reduce,
    device,
    host_visitor,
    leave_network,
    meet,
    neighbour,
    other_neighbour,
    reserve,
)

MACHINE = os.uname().machine
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
COLUMN = {"x86_64": 0, "aarch64": 1}[MACHINE]
CALLS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "clone3": (435, 435),
    "open_by_handle_at": (304, 265),
    "fsopen": (430, 430),
    "setpriority": (141, 140),
}


def outcome(act, *arguments):
    """'done', or the name of the error."""
    try:
        act(*arguments)
    except OSError as error:
        return type(error).__name__ if error.errno is None else os.strerror(error.errno)
    except MemoryError:
        return "MemoryError"
    return "done"


def raw(number, *arguments):
    """A raw system call's errno, 0 when it worked."""
    ctypes.set_errno(0)
    result = libc.syscall(number, *[ctypes.c_long(each) for each in arguments])
    return 0 if result >= 0 else ctypes.get_errno()


def connect(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(1)
        one.connect(address)
        one.send(b"hello")


def datagram_from_pair(path):
    left, _right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.sendto(b"hello", path)


def network(known):
    here = ("127.0.0.1", known["port"])
    return {
        "tcp": outcome(connect, socket.AF_INET, socket.SOCK_STREAM, here),
        "udp": outcome(connect, socket.AF_INET, socket.SOCK_DGRAM, here),
        "tcp6": outcome(connect, socket.AF_INET6, socket.SOCK_STREAM, ("::1", known["port"])),
        "netlink": outcome(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "unix": outcome(connect, socket.AF_UNIX, socket.SOCK_STREAM, known["socket"]),
        "unix_datagram": outcome(datagram_from_pair, known["datagram"]),
        "abstract": outcome(connect, socket.AF_UNIX, socket.SOCK_STREAM, "\0" + known["abstract"]),
    }


def read_one(path):
    with open(path, "rb") as file:
        file.read(1)


def files(known):
    paths = ["/etc/shadow", "/etc/passwd", f"/proc/{known['parent']}/environ", f"/proc/{known['parent']}/mem"]
    found = {path: outcome(read_one, path) for path in paths + known["secret"]}
    found |= {f"list {path}": outcome(os.listdir, path) for path in known["folders"]}
    return found


def writing(known):
    folders = ["/", "/tmp", "/var/tmp", "/run", "/etc", "/usr/lib", "/dev", "/proc", "/sys", sys.prefix, sys.argv[0]]
    folders += known["folders"] + [os.path.dirname(os.path.dirname(os.getcwd())) or "/"]
    found = {f"make in {path}": outcome(make, f"{path}/hostile-{os.getpid()}") for path in folders}
    own = known["writable"]
    found |= {
        "append": outcome(lambda: os.close(os.open(own, os.O_WRONLY | os.O_APPEND))),
        "chmod": outcome(os.chmod, own, 0o777),
        "utime": outcome(os.utime, own, (1, 1)),
        "rename": outcome(os.rename, own, own + ".moved"),
        "unlink": outcome(os.unlink, own),
        "link": outcome(os.link, own, "linked"),
        "sysctl": outcome(lambda: os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))),
    }
    found["landlock"] = outcome(lambda: os.close(os.open(f"/proc/{os.getpid()}/comm", os.O_WRONLY)))
    with open("mine", "wb") as file:
        file.write(b"x" * 100)
    os.mkdir("folder")
    os.rename("mine", "folder/mine")
    found["own scratch"] = "done" if os.stat("folder/mine").st_size == 100 else "lost"
    return found


def namespaces(known):
    """Those that are still the worker's."""
    return {"shared": [name for name, own in known["own"].items() if os.readlink(f"/proc/self/ns/{name}") == own]}


def processes(known):
    with contextlib.suppress(OSError):
        return {"seen": [int(name) for name in os.listdir("/proc") if name.isdigit()]}
    return {"seen": [os.getpid()]}


def parent(known):
    """The worker, the keeper, process 1: read, write, limit, slow down, kill."""
    found = {}
    for pid in {known["parent"], known.get("server", 0), os.getppid(), 1} - {0}:
        found[f"mem {pid}"] = outcome(read_one, f"/proc/{pid}/mem")
        found[f"fd {pid}"] = outcome(os.listdir, f"/proc/{pid}/fd")
        found[f"prlimit {pid}"] = outcome(resource.prlimit, pid, resource.RLIMIT_NOFILE, (20, 20))
        found[f"priority {pid}"] = outcome(os.setpriority, os.PRIO_PROCESS, pid, 19)
        found[f"affinity {pid}"] = outcome(os.sched_setaffinity, pid, {0})
        if pid != 1 or os.getppid() != 1:
            found[f"kill {pid}"] = outcome(os.kill, pid, signal.SIGKILL)
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(OSError):
            os.kill(os.getppid(), number)
    time.sleep(0.05)
    return found


def calls(known):
    found = {name: raw(numbers[COLUMN], known["parent"], 0, 0, 0, 0) for name, numbers in CALLS.items()}
    found["clone in a user namespace"] = raw((56, 220)[COLUMN], 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    handler = ctypes.create_string_buffer(64)
    ctypes.memset(handler, 0, 64)
    handler[0] = 1  # SIG_IGN
    found["ignore SIGCHLD"] = raw((13, 134)[COLUMN], signal.SIGCHLD, ctypes.addressof(handler), 0, 8)
    return found


def privileges(known):
    with open(f"/proc/{os.getpid()}/status", encoding="ascii") as file:
        status = dict(line.split(":", 1) for line in file)
    return {
        "uid": os.getuid(),
        "groups": os.getgroups(),
        "capabilities": {name: status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")},
        "bounding": status["CapBnd"].strip(),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "seccomp": status["Seccomp"].strip(),
        "descriptors": [
            fd for fd in range(1024) if outcome(os.fstat, fd) == "done" and not stat.S_ISDIR(os.fstat(fd).st_mode)
        ],
        "core": resource.getrlimit(resource.RLIMIT_CORE),
    }


def surroundings(known):
    with open(f"/proc/{os.getpid()}/environ", "rb") as file:
        first = file.read().decode()
    return {"environment": dict(os.environ), "first": first, "hash": hash("deterministic"), "cwd": os.getcwd()}


def packages(known):
    site = next(path for path in sys.path if path.endswith("-packages"))
    return {"names": sorted(os.listdir(site)), "readable": [n for n in os.listdir(site) if readable(f"{site}/{n}")]}


def readable(path):
    try:
        if os.path.isdir(path):
            inside = [each.path for each in os.scandir(path) if each.is_file()]
            for each in inside[:3]:
                read_one(each)
            return bool(inside) or bool(os.listdir(path))
        read_one(path)
    except OSError:
        return False
    return True


def sleep(known):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(30)


def stop(known):
    os.kill(os.getpid(), signal.SIGSTOP)


def spin(known):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        pass


def mute(known):
    """Close the protocol and stay."""
    os.close(1)
    os.close(0)
    time.sleep(30)


def burn(known):
    """CPU time in grandchildren that nobody of the recipe waits for."""
    ended, held = os.pipe()
    for _ in range(2):
        if os.fork() == 0:
            if os.fork() == 0:
                began = time.process_time()
                while time.process_time() - began < known["seconds"]:
                    pass
            os._exit(0)
    os.close(held)
    os.read(ended, 1)
    return {}


def leave(known):
    if "signal" in known:
        os.kill(os.getpid(), known["signal"])
    os._exit(known["code"])


def kill_all(known):
    outcome(os.kill, -1, signal.SIGKILL)
    return {"alive": True}


def foreign(known):
    """A call of another architecture: x32 on x86_64; the filter kills."""
    raw(0x40000000 | 39)
    return {"alive": True}


def echo(known):
    data = b""
    while piece := os.read(0, 1 << 20):
        data += piece
    return {"bytes": len(data), "sum": sum(data) % 65521}


def train(known):
    import torch  # noqa: PLC0415 - only this act has it

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs, labels = torch.randn(64, 16), torch.randint(0, 4, (64,))
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    torch.save(model.state_dict(), "model.pt")
    torch.load("model.pt", weights_only=True)
    return {
        "first": losses[0],
        "last": losses[-1],
        "threads": torch.get_num_threads(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }


if __name__ == "__main__":
    act = globals()[sys.argv[1]]
    answer = act(json.loads(sys.argv[2]))
    if answer is not None:
        report(answer)
