"""Runs a command in gVisor: an operator's command for isolation level L4 (docs/sandbox.md), for root on Linux.

    /usr/bin/python3 -IS CHECKOUT/scripts/runsc_kernel.py {scratch} {scratch_bytes} {shown} {links}

Arguments: scratch folder, its bytes, what to show as JSON (pairs of source and place; an empty source hides what lies
at the place), links as JSON (pairs of place and target), then the command. Only ``runsc`` and Python's standard library
are needed. All that is made lies in a tmpfs of this process's own: however it ends, only its empty folder is left.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

STAND = "/run/autoresearch-runsc"
NEW_MOUNTS, NEW_NET, NOSUID, NODEV, RECURSIVE, PRIVATE = 0x20000, 0x40000000, 2, 4, 0x4000, 0x40000
CAPABILITIES = ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"]
RUNSC = ["runsc", f"--root={STAND}/state", "--network=none", "--platform=ptrace", "--ignore-cgroups", "--overlay=false"]
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, call: str) -> None:
    """Raises OSError with the call's name."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")


def own_folder() -> None:
    """A tmpfs at STAND that nobody else sees. runsc's control socket needs a network namespace to be as private."""
    os.makedirs(STAND, mode=0o700, exist_ok=True)
    check(libc.unshare(NEW_MOUNTS | NEW_NET), "unshare")
    check(libc.mount(b"none", b"/", b"", ctypes.c_ulong(RECURSIVE | PRIVATE), None), "mount")
    flags = ctypes.c_ulong(NOSUID | NODEV)
    check(libc.mount(b"tmpfs", STAND.encode(), b"tmpfs", flags, b"mode=0700,size=16m"), "mount")


def mounts(shown: list[list[str]], scratch: str, size: str) -> list[dict[str, object]]:
    """OCI mounts: what is shown, /proc, and the scratch folder as the only writable place."""
    found: list[dict[str, object]] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    if not any(f"{place}/".startswith("/tmp/") for place in (scratch, *(place for _source, place in shown))):  # noqa: S108
        # Where nothing is mounted there, gVisor mounts a folder that anyone may write.
        found.append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]})  # noqa: S108
    for source, place in shown:
        if source:
            found.append({"destination": place, "type": "bind", "source": source, "options": ["ro", "rbind"]})
        else:
            found.append({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["ro"]})
    options = ["nosuid", "nodev", "mode=0777", f"size={size}"]
    return [*found, {"destination": scratch, "type": "tmpfs", "source": "tmpfs", "options": options}]


def main() -> None:
    """Make a bundle, become runsc."""
    scratch, size, shown, links, *command = sys.argv[1:]
    own_folder()
    root = f"{STAND}/bundle/root"
    os.makedirs(root)
    os.chmod(root, 0o755)  # noqa: S103 - the guest's root folder
    for place, target in json.loads(links):
        os.makedirs(os.path.dirname(root + place), mode=0o755, exist_ok=True)
        os.symlink(target, root + place)
    bundle = {
        "ociVersion": "1.0.0",
        "hostname": "sandbox",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": command,
            "env": [],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": root, "readonly": True},
        "mounts": mounts(json.loads(shown), scratch, size),
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }
    with open(f"{STAND}/bundle/config.json", "w", encoding="utf-8") as file:
        json.dump(bundle, file)
    os.execvp(RUNSC[0], [*RUNSC, "run", "--bundle", f"{STAND}/bundle", f"sandbox-{os.getpid()}"])  # noqa: S606


if __name__ == "__main__":
    main()
