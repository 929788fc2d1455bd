"""The few Linux calls that Python has no name for, by ctypes: prctl, capset, mount and friends.

Standard library only; every function raises OSError with the name of the call when the kernel refuses.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAP_DAC_READ_SEARCH = 2
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYS_MOUNT_SETATTR = 442
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
MOUNT_ATTR_LOCKED_DOWN = 0x1 | 0x2 | 0x4  # read-only, no set-uid, no devices

MADV_COLLAPSE = 25  # Linux 6.1
HUGE_PAGE = 2 << 20

MACHINE = os.uname().machine
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def check(result: int, call: str) -> int:
    """``result`` unless it is negative; then OSError with errno and the call's name."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
    return result


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    """prctl(2) with integer arguments."""
    zero = ctypes.c_ulong(0)
    return check(libc.prctl(option, ctypes.c_ulong(first), ctypes.c_ulong(second), zero, zero), f"prctl({option})")


def drop_privileges(uid: int, gid: int, *, may_read: bool) -> None:
    """Give up every capability for good and become ``uid``/``gid`` (-1: stay who we are).

    may_read: keep CAP_DAC_READ_SEARCH, for a root-owned interpreter that another uid cannot reach; Landlock or the
    curated root bounds what can be read. It is lost at the next exec, because the bounding set is empty.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):  # gVisor has no ambient capabilities
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # not privileged (nothing to drop) or beyond the kernel's last capability
            break
    if uid >= 0:
        prctl(PR_SET_KEEPCAPS, int(may_read))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    kept = 1 << CAP_DAC_READ_SEARCH if may_read and uid >= 0 else 0
    header = _CapHeader(0x20080522, 0)
    data = (_CapData * 2)(_CapData(kept, kept, 0), _CapData(0, 0, 0))
    check(libc.syscall(SYS_CAPSET[MACHINE], ctypes.byref(header), data), "capset")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    done = libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    check(done, f"mount {source} on {target}")


def unmount(target: str) -> None:
    """umount2(2), lazily."""
    check(libc.umount2(target.encode(), 2), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    check(libc.syscall(SYS_PIVOT_ROOT[MACHINE], new.encode(), old.encode()), "pivot_root")


def lock_down_mounts(path: str) -> None:
    """Make every mount at and below ``path`` read-only, without set-uid programs and devices (Linux 5.12)."""
    attributes = _MountAttr(MOUNT_ATTR_LOCKED_DOWN, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    done = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, ctypes.byref(attributes), size)
    check(done, "mount_setattr")


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(libc.unshare(flags), "unshare")


def name_host(name: str) -> None:
    """sethostname(2)."""
    check(libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def raise_loopback() -> None:
    """Bring up ``lo`` in this network namespace (netdevice(7)); its addresses come with it."""
    descriptor = check(libc.socket(2, 1, 0), "socket")
    try:
        request = struct.pack("16sh14x", b"lo", IFF_UP)
        check(libc.ioctl(descriptor, ctypes.c_ulong(SIOCSIFFLAGS), request), "ioctl(SIOCSIFFLAGS)")
    finally:
        os.close(descriptor)


def set_limits(limits: dict[str, int]) -> None:
    """Set soft and hard rlimits by name (``AS``, ``NPROC`` ...); a lower hard limit that is already there stays."""
    for name, wanted in limits.items():
        kind = int(getattr(resource, f"RLIMIT_{name}"))
        _soft, hard = resource.getrlimit(kind)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def gather() -> int:
    """Move this process's own memory into huge pages: a fork copies one entry for each, not 512. Returns bytes asked.

    A kernel that does not do so only forks more slowly.
    """
    asked = 0
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        places = [line.split() for line in file]
    for span, mode, _offset, _device, _inode, *name in places:
        if mode != "rw-p" or name not in ([], ["[heap]"]):
            continue
        begin, end = (int(address, 16) for address in span.split("-"))
        first, last = -(-begin // HUGE_PAGE) * HUGE_PAGE, end // HUGE_PAGE * HUGE_PAGE
        if first < last and libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_COLLAPSE) == 0:
            asked += last - first
    return asked
