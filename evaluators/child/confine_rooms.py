"""Namespaces and a curated root without any helper program: unshare(2), bind mounts, pivot_root(2).

Used where bubblewrap is not installed. The new root is a small tmpfs that holds read-only binds of what the parent
listed, a few harmless devices, a fresh /proc, and one size-limited writable tmpfs: the scratch folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from confine_kernel import lock_down_mounts, mount, name_host, pivot_root, raise_loopback, unmount, unshare

NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
NOSUID, NODEV, NOEXEC, BIND, RECURSIVE, PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
INODES = 4096
OLD, NEW = "/oldroot", "/newroot"


def leave(*, loopback: bool) -> None:
    """Enter fresh namespaces. The process id namespace begins with the next child. One thread only.

    loopback: bring up the new network namespace's only interface.

    A privileged process needs no user namespace (its uid is dropped later); any other gets one in which it keeps its
    own ids, so that the files it makes are its own.
    """
    flags = NEW_MOUNTS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET
    uid, gid = os.getuid(), os.getgid()
    unshare(flags if uid == 0 else flags | NEW_USER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        if uid != 0:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    name_host("sandbox")
    if loopback:
        raise_loopback()


def _place(path: str, *, folder: bool) -> None:
    """Make an empty folder or file to mount on."""
    os.makedirs(path if folder else os.path.dirname(path), mode=0o755, exist_ok=True)
    if not folder and not os.path.lexists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))


def _bind(path: str, target: str) -> None:
    source = OLD + path
    _place(target, folder=os.path.isdir(source))
    mount(source, target, "", BIND | RECURSIVE)


def furnish(
    *,
    shown: Sequence[Sequence[str]],
    links: Iterable[Sequence[str]],
    devices: Iterable[str],
    scratch: str,
    scratch_bytes: int,
    owner: tuple[int, int],
) -> None:
    """Build the root and move into it. Runs as process 1 of the new process id namespace.

    shown: (source, place) pairs, parents first, paths without symbolic links; an empty source is an empty folder that
    hides what lies there. links: (place, target). owner: uid and gid of the scratch folder, -1 to keep one's own.
    """
    os.umask(0o022)
    mount("none", "/", "", RECURSIVE | PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, "mode=0755,size=1m")  # noqa: S108 - only a place to stand on
    os.chdir("/tmp")  # noqa: S108
    os.mkdir("oldroot")
    os.mkdir("newroot")
    pivot_root(".", "oldroot")
    os.chdir("/")
    mount("tmpfs", NEW, "tmpfs", NOSUID | NODEV, "mode=0755,size=1m")
    for source, place in shown:
        if source:
            _bind(source, NEW + place)
        else:
            mount("tmpfs", NEW + place, "tmpfs", NOSUID | NODEV, "mode=0755,size=64k")
    for place, target in links:
        _place(os.path.dirname(NEW + place), folder=True)
        os.symlink(target, NEW + place)
    for device in devices:
        _place(NEW + device, folder=False)
    for folder in ("/proc", scratch):
        _place(NEW + folder, folder=True)
    lock_down_mounts(NEW)
    for device in devices:
        mount(OLD + device, NEW + device, "", BIND)
    ids = f",uid={owner[0]},gid={owner[1]}" if owner[0] >= 0 else ""
    size = f"mode=0700,size={scratch_bytes},nr_inodes={INODES}{ids}"
    mount("tmpfs", NEW + scratch, "tmpfs", NOSUID | NODEV, size)
    mount("proc", NEW + "/proc", "proc", NOSUID | NODEV | NOEXEC)
    unmount(OLD)
    os.chdir(NEW)
    pivot_root(".", ".")
    unmount(".")
    os.chdir("/")
