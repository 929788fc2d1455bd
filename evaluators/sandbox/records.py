"""Values of the sandbox room: levels, what was reached, bounds of one process, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LEVELS = ("L4", "L3", "L2", "L1")
"""Strongest first. L4: another kernel, by an operator's command. L3: namespaces and a curated root. L2: Landlock,
seccomp and limits in the host's own root. L1: seccomp and limits only; the host's files can be read, so nothing that is
measured there counts. L0, no isolation, is always refused."""

LEVEL_OF = {"operator": "L4", "bwrap": "L3", "unshare": "L3", "landlock": "L2", "limits": "L1"}
"""Backend -> level, in the order in which they are tried."""

FORKABLE = ("unshare", "landlock", "limits")
"""Backends whose walls a forked process can raise by itself; bubblewrap has to start a program."""

PRIVATE = ("operator", "bwrap", "unshare")
"""Backends with a root folder and namespaces of their own."""

OWN_NETWORK = ("L4", "L3")
"""Levels with a network namespace of their own."""

OPERATOR = "AUTORESEARCH_SANDBOX_L4"
"""L4 is reached only where this environment variable holds the command that leads to another kernel."""

UNISOLATED = "ALLOW_UNISOLATED"
"""L1 is reached only where this environment variable is 1."""

NOT_AT_L1 = frozenset({"host_files", "host_sockets", "writing", "processes", "worker", "keeper"})
"""Checks of the self-test that the weakest level is known to fail."""


NO_LOOPBACK = "a loopback needs a network namespace of its own; here it would be the host's"


class SandboxUnavailable(RuntimeError):
    """No wall, or not the asked one, can be built on this host: one clear line. Never a recipe's fault."""


@dataclass(frozen=True)
class Isolation:
    """The level reached on this host; stored with every trial.

    why_lower: empty when ``level`` is ``wanted``. backend: ``operator``, ``bwrap``, ``unshare`` or ``landlock``.
    start: ``cold``, a fresh interpreter for each process, or ``warm``, forked from one that has torch loaded.
    loopback: processes in one sandbox may speak TCP and UDP with each other, and with nobody else.
    details: uid, kernel, bwrap_version, landlock_abi, seccomp_sha256, limits, network, cgroup, self_test, notes,
    command and guest (release and version of the other kernel) at L4.
    """

    level: str
    wanted: str
    why_lower: str
    backend: str
    details: Mapping[str, object] = field(default_factory=dict)
    start: str = "cold"
    loopback: bool = False

    def to_json(self) -> dict[str, object]:
        """Plain values for the trial's record."""
        return {
            "level": self.level,
            "wanted": self.wanted,
            "why_lower": self.why_lower,
            "backend": self.backend,
            "start": self.start,
            "loopback": self.loopback,
            "details": dict(self.details),
        }


@dataclass(frozen=True)
class Bounds:
    """Limits of one sandboxed tree.

    wall_seconds, cpu_seconds: of the whole tree, enforced from outside (and CPU per process by rlimit).
    memory_bytes: address space of each process, and resident memory of the tree. scratch_bytes: the writable folder.
    log_bytes: kept of what the recipe prints. processes: processes and threads.
    address_space: whether ``memory_bytes`` limits the address space too; it does not fit CUDA, which reserves far more
    than it uses. devices: character devices of the host that are shown and may be driven, by absolute path.
    visible: CUDA_VISIBLE_DEVICES, as the recipe finds it.
    """

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int
    scratch_bytes: int
    log_bytes: int = 1 << 20
    processes: int = 64
    address_space: bool = True
    devices: tuple[str, ...] = ()
    visible: str = ""


@dataclass(frozen=True)
class Exit:
    """How a sandboxed process ended.

    code or signal: of the runner, the other is None; both are None when it was ended from outside before it exited.
    cpu_seconds: user + system of the whole tree, measured from outside. max_rss_bytes: of its largest process.
    cause: empty when it ended by itself, else what ended it: ``wall``, ``cpu``, ``memory``, ``scratch``, ``killed``
    (by ``kill()``), or ``fault`` (the sandbox broke; never the recipe's doing).
    """

    code: int | None
    signal: int | None
    cpu_seconds: float
    wall_seconds: float
    max_rss_bytes: int
    cause: str = ""
