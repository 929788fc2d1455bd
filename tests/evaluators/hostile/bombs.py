"""Hostile acts that use up what they can get: processes, memory, scratch, log. Each bounds itself in time and number,
so that a wall with a hole turns a test red and not the host over."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import time


def make(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def report(found):
    os.write(1, json.dumps(found).encode())


def fork_bomb(known):
    made, error = [], ""
    for _ in range(400):
        try:
            pid = os.fork()
        except OSError as reason:
            error = os.strerror(reason.errno)
            break
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        made.append(pid)
    return {"forks": len(made), "error": error}


def daemons(known):
    """Three processes that have left the session, the process group and their parent."""
    ready, told = os.pipe()
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                os.write(told, b"x")
                os.closerange(0, 64)
                for _ in range(1500):
                    time.sleep(0.02)
            os._exit(0)
    got = 0
    while got < 3:
        got += len(os.read(ready, 3))
    if known.get("stay"):
        report({"daemons": got})
        time.sleep(30)
    return {"daemons": got}


def breed(known):
    """Children that make children and go, so that no list of processes is ever true.

    Bounded in time and number, so that a wall with a hole turns a test red and not the host over.
    """
    made = mmap.mmap(-1, mmap.PAGESIZE)
    until = time.monotonic() + 3
    report({"breeding": True})
    while time.monotonic() < until and int.from_bytes(made[:8], "little") < 2000:
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                os.setsid()
            else:
                made[:8] = (int.from_bytes(made[:8], "little") + 1).to_bytes(8, "little")
        with contextlib.suppress(OSError):
            os.waitpid(-1, os.WNOHANG)
    time.sleep(max(0.0, until - time.monotonic()))


def shout(known):
    line = b"nonsense val_bpb:0.0001 " * 40 + b"\n"
    written = 0
    while written < known["bytes"]:
        written += os.write(2, line)
    return {"written": written}


def overflow(known):
    written, error = 0, ""
    block = b"x" * (1 << 16)
    try:
        for number in range(64):
            with open(f"file{number}", "wb") as file:
                for _ in range(16):
                    written += file.write(block)
    except OSError as reason:
        error = os.strerror(reason.errno)
    time.sleep(known["stay"])
    return {"written": written, "error": error}


def many_files(known):
    for number in range(60_000):
        make(str(number))
    time.sleep(known["stay"])  # sampled from outside: a burst may be over before anybody looks
    return {"made": 60_000}


def deep(known):
    """Folders deeper than any path may be long, and some that cannot be entered or listed."""
    for mode in (0o000, 0o300, 0o100):
        os.mkdir(f"closed{mode}", mode)
    if os.path.isdir("closed192"):
        make("closed192/hidden")
    for _ in range(1500):
        os.mkdir("folder")
        os.chdir("folder")
    make("leaf")
    os.symlink("/etc", "link")
    return {"made": 1500}


def memory(known):
    kept = []
    try:
        while True:
            kept.append(bytearray(16 << 20))
    except MemoryError:
        return {"allocated": len(kept) * 16 << 20}


def memory_of_many(known):
    for _ in range(6):
        if os.fork() == 0:
            held = mmap.mmap(-1, known["bytes"])
            for offset in range(0, known["bytes"], mmap.PAGESIZE):
                held[offset] = 1
            time.sleep(30)
            os._exit(0)
    time.sleep(30)


def memory_shared(known):
    """Forks that share their parent's pages use no memory of their own: no bomb."""
    held = bytearray(os.urandom(1 << 20)) * (known["bytes"] >> 20)
    pids = []
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            time.sleep(0.6)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return {"held": len(held)}
