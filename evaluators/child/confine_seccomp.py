"""A seccomp filter in raw BPF: system calls that no training code needs are refused; a foreign architecture is killed.

A deny list, because torch, OpenMP and allocators use a wide and changing set of harmless calls. The walls against
files and the network are namespaces and Landlock; this filter closes what those do not cover: other processes'
memory, kernel keyrings, io_uring, SysV memory outside the scratch limit, nested namespaces, mounting, sockets.
Numbers: Linux asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import ctypes
import struct

from confine_kernel import MACHINE, check, libc

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}
EPERM, ENOSYS = 1, 38
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
X32_BIT = 0x40000000
SIGCHLD = 17
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM, NETLINK_ROUTE = 1, 2, 0
IP = (0, 6, 17)  # the default of the kind, TCP, UDP
NEW_NAMESPACES = 0x7E020000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

# name: (x86_64, aarch64); -1 where the architecture has no such call.
DENIED: dict[str, tuple[int, int]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "move_pages": (279, 239), "migrate_pages": (256, 238), "perf_event_open": (298, 241),
    # scheduling: a trial may not take the machine from its neighbours or from its keeper
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122), "setpriority": (141, 140), "ioprio_set": (251, 30),
    # kernel objects that outlive or escape a process's limits
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "msgget": (68, 186), "msgctl": (71, 187), "semget": (64, 190), "semctl": (66, 191),
    "mq_open": (240, 180), "memfd_secret": (447, 447), "userfaultfd": (323, 282), "bpf": (321, 280),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    # the machine itself (root's business; refused twice)
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "uselib": (134, -1), "modify_ldt": (154, -1),
    "iopl": (172, -1), "ioperm": (173, -1),
}  # fmt: skip
# Callers fall back by themselves when these do not exist.
MISSING: dict[str, tuple[int, int]] = {
    "clone3": (435, 435), "memfd_create": (319, 279), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Timers by the thousand: their interrupts are charged to whoever runs then, so to the reference of a trial.
    "timer_create": (222, 107), "timerfd_create": (283, 85),
    # Watching what others open: a message from one sandbox to the next through the files that both are shown.
    "inotify_init": (253, -1), "inotify_init1": (294, 26),
}  # fmt: skip
# Without a private root: Landlock does not watch these, and the recipe has the uid of somebody's files.
METADATA: dict[str, tuple[int, int]] = {
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "lchown": (94, -1), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1),
    "utimensat": (280, 88), "futimesat": (261, -1), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
}  # fmt: skip
# Without Landlock's signal scope (ABI below 6): a process may signal itself only.
SIGNALS: dict[str, tuple[int, int]] = {
    "kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
UNADDRESSED_SIGNALS: dict[str, tuple[int, int]] = {"tkill": (200, 130), "pidfd_send_signal": (424, 424)}


def _op(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def _low(argument: int) -> bytes:
    return _op(LOAD, 16 + 8 * argument)


def _high(argument: int) -> bytes:
    return _op(LOAD, 20 + 8 * argument)


def _on(numbers: tuple[int, int], body: list[bytes]) -> bytes:
    """If this is the call, run ``body`` (which returns); else go on behind it."""
    number = numbers[COLUMN[MACHINE]]
    return b"" if number < 0 else _op(JUMP_EQUAL, number, 0, len(body)) + b"".join(body)


def _only(argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Allow the call when the argument's low word is one of ``values``, else EPERM."""
    tests = [_op(JUMP_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_low(argument), *tests, _op(RETURN, ERRNO | EPERM), _op(RETURN, ALLOW)]


def _never(argument: int, values: tuple[int, ...]) -> list[bytes]:
    """EPERM when the argument's low word is one of ``values``, else allow."""
    tests = [_op(JUMP_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_low(argument), *tests, _op(RETURN, ALLOW), _op(RETURN, ERRNO | EPERM)]


def _loopback() -> list[bytes]:
    """socket(2) in a network namespace that has only a loopback: Unix, TCP and UDP, and the routing socket by which
    getifaddrs(3) lists interfaces; raw sockets and rarer protocols stay shut."""
    refuse, allow = _op(RETURN, ERRNO | EPERM), _op(RETURN, ALLOW)
    protocol, route = _only(2, IP), _only(2, (NETLINK_ROUTE,))
    kind = [_low(1), _op(AND, 0xF), _op(JUMP_EQUAL, STREAM, 1, 0), _op(JUMP_EQUAL, DATAGRAM, 0, len(protocol))]
    internet = kind + protocol
    body = [_low(0), _op(JUMP_EQUAL, UNIX, 0, 1), allow, _op(JUMP_EQUAL, NETLINK, 0, len(route)), *route]
    return [*body, _op(JUMP_EQUAL, INET, 1, 0), _op(JUMP_EQUAL, INET6, 0, len(internet)), *internet, refuse]


def _by_argument(*, private_root: bool, loopback: bool) -> list[bytes]:
    """Calls that are refused for some of their arguments only."""
    refuse, allow = _op(RETURN, ERRNO | EPERM), _op(RETURN, ALLOW)
    pairs = _only(0, (1,))
    if loopback:
        sockets = _loopback()
    elif private_root:
        sockets = _only(0, (1,))  # AF_UNIX: nobody else listens in this root and this network namespace
    else:
        # No socket by path (a database may listen there); a datagram pair could be addressed to one, a stream cannot.
        sockets = [refuse]
        kind = [_low(1), _op(AND, 0xF), _op(JUMP_EQUAL, 1, 1, 0), refuse, allow]
        pairs = [_low(0), _op(JUMP_EQUAL, 1, 1, 0), refuse, *kind]
    return [
        _on((41, 198), sockets),
        _on((53, 199), pairs),
        _on((56, 220), [_low(0), _op(JUMP_ANY_BIT, NEW_NAMESPACES, 0, 1), refuse, allow]),
        _on((302, 261), _only(0, (0,))),  # prlimit64: own limits only, not the worker's
        # Ignoring SIGCHLD would make children vanish from the CPU account that the parent reads with wait4.
        _on(
            (13, 134),
            [_low(0), _op(JUMP_EQUAL, SIGCHLD, 0, 4), _low(1), _op(JUMP_EQUAL, 0, 0, 3), _high(1),
             _op(JUMP_EQUAL, 0, 0, 1), allow, refuse],
        ),
        # ioctl TIOCSTI, TIOCLINUX: typing into a terminal; FIOSETOWN, SIOCSPGRP: see F_SETOWN
        _on((16, 29), _never(1, (0x5412, 0x541C, 0x8901, 0x8902))),
        # fcntl F_SETLEASE: making others wait for a file; F_NOTIFY: watching what they make in a folder; F_SETOWN,
        # F_SETOWN_EX: having the kernel send them signals
        _on((72, 25), _never(1, (1024, 1026, 8, 15))),
        _on((135, 92), _only(0, (0xFFFFFFFF,))),  # personality: query only
    ]  # fmt: skip


def program(*, private_root: bool, signal_scope: bool, loopback: bool, pid: int) -> bytes:
    """The filter as packed ``struct sock_filter``, for this machine.

    private_root: the process has its own root and network namespace (L3). signal_scope: Landlock or a pid namespace
    keeps signals inside. loopback: that network namespace has one. pid: the process that the filter is for, used only
    when nothing keeps signals inside.
    """
    kill = _op(RETURN, KILL_PROCESS)
    code = [_op(LOAD, 4), _op(JUMP_EQUAL, AUDIT_ARCH[MACHINE], 1, 0), kill, _op(LOAD, 0)]
    if MACHINE == "x86_64":
        code += [_op(JUMP_AT_LEAST, X32_BIT, 0, 1), kill]
    refused = dict(DENIED) if private_root else DENIED | METADATA
    if not signal_scope:
        refused |= UNADDRESSED_SIGNALS
        code += [_on(numbers, _only(0, (0, pid))) for numbers in SIGNALS.values()]
    code += [_on(numbers, [_op(RETURN, ERRNO | EPERM)]) for numbers in refused.values()]
    code += [_on(numbers, [_op(RETURN, ERRNO | ENOSYS)]) for numbers in MISSING.values()]
    code += _by_argument(private_root=private_root, loopback=loopback)
    code.append(_op(RETURN, ALLOW))
    return b"".join(code)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(code: bytes) -> None:
    """Put the filter on this thread and all that it starts. Needs NO_NEW_PRIVS."""
    packed = _Program(len(code) // 8, code)
    done = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(packed), 0, 0)
    check(done, "prctl(PR_SET_SECCOMP)")
