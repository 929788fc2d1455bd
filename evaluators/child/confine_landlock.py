"""Landlock by raw system calls: which files may be read, which may be written, no TCP, no signals to the outside.

Reference: Documentation/userspace-api/landlock.rst of Linux (call numbers are the same on every architecture).
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from confine_kernel import check, libc

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = EXECUTE | READ_FILE | READ_DIR
# Number of file rights by ABI version: 1 has 13, 2 adds REFER, 3 TRUNCATE, 5 IOCTL_DEV.
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
DEVICE_RIGHTS = (1 << 6) | (1 << 11)  # making character and block devices: never


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """Landlock's version on this kernel; 0 when it has none."""
    return max(0, int(libc.syscall(CREATE, None, ctypes.c_size_t(0), 1)))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # a path that is not there needs no right
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= FOR_FILES
        rule = _Beneath(rights, place)
        check(libc.syscall(ADD_RULE, ruleset, 1, ctypes.byref(rule), 0), f"landlock_add_rule {path}")
    finally:
        os.close(place)


def restrict(
    *,
    read: Iterable[str],
    listed: Iterable[str],
    written: Iterable[str],
    devices: Iterable[str],
    driven: Iterable[str],
    tcp: bool,
) -> int:
    """Confine this thread and all that it starts; returns the ABI version used, 0 when there is no Landlock.

    read: trees that may be read and executed. listed: folders whose names may be listed. written: trees in which
    everything but devices may be made. devices: files that may be read and written. driven: those that may be
    controlled (ioctl) as well. tcp: whether TCP may be used; the network namespace bounds it then.
    """
    version = abi()
    if version == 0:
        return 0
    handled = (1 << FILE_RIGHTS.get(version, 16)) - 1
    everything = _Ruleset(handled, 3 if version >= 4 and not tcp else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = check(libc.syscall(CREATE, ctypes.byref(everything), ctypes.c_size_t(size), 0), "landlock_create_ruleset")
    try:
        for path in read:
            _allow(ruleset, path, READ)
        for path in listed:
            _allow(ruleset, path, READ_DIR)
        for path in written:
            _allow(ruleset, path, handled & ~DEVICE_RIGHTS)
        for path in devices:
            _allow(ruleset, path, handled & (READ_FILE | WRITE_FILE | TRUNCATE))
        for path in driven:
            _allow(ruleset, path, handled & (READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV))
        check(libc.syscall(RESTRICT, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)
    return version
