"""What a sandboxed process may see of the host: the interpreter, numpy and torch with their requirements, libraries.

An allow list. The site-packages folder itself is not shown: other packages may hold validation texts, settings or
credentials. Paths are shown where they lie on the host, so that an interpreter finds itself.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHILD = Path(__file__).resolve().parent.parent / "child"
ENTRY = CHILD / "confine_start.py"
RUNTIME = ("numpy", "torch")
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32")
FILES = ("/etc/ld.so.cache", "/sys/devices/system/cpu", "/sys/devices/system/node")
PROC_FILES = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class View:
    """Paths without symbolic links unless said otherwise.

    python: the interpreter's own file (a venv's link is resolved: the venv is not needed). search: folders for
    sys.path. shown: (source, place), parents first; an empty source hides what lies there. links: (place, target).
    read, listed: the same set for Landlock, as trees to read and folders to list. hidden: names of importable modules
    that lie in the folders of ``search`` and are not shown.
    """

    python: str
    search: tuple[str, ...]
    shown: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    read: tuple[str, ...]
    listed: tuple[str, ...]
    hidden: tuple[str, ...]


def _requirements(names: Iterable[str]) -> Iterator[importlib.metadata.Distribution]:
    """Installed distributions that ``names`` need, themselves included; extras are left out."""
    waiting, seen = list(names), set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        yield found
        for line in found.requires or ():
            wanted, _, marker = line.partition(";")
            if "extra" not in marker:
                waiting.append(re.split(r"[\s\[<>=!~(@]", wanted.strip(), maxsplit=1)[0])


def _packages() -> dict[str, set[str]]:
    """Site folder -> names in it that belong to the runtime's packages."""
    found: dict[str, set[str]] = {}
    for distribution in _requirements(RUNTIME):
        site = os.path.realpath(str(distribution.locate_file("")))
        tops = {file.parts[0] for file in distribution.files or () if len(file.parts) > 0}
        found.setdefault(site, set()).update(
            top for top in tops if not top.endswith(".pth") and top not in ("..", "__pycache__", "bin")
        )
    return {
        site: {name for name in names if os.path.lexists(os.path.join(site, name))} for site, names in found.items()
    }


def _roots() -> list[str]:
    """Library trees that exist, the interpreter's first, none inside another."""
    prefix = os.path.realpath(sys.base_prefix)
    stdlib = os.path.realpath(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    wanted = [stdlib, f"{prefix}/lib", f"{prefix}/lib64", *LIBRARIES]
    real = sorted({os.path.realpath(path) for path in wanted if os.path.isdir(path)})
    return [path for path in real if not any(path.startswith(other + "/") for other in real)]


def _hidden(roots: Sequence[str]) -> list[str]:
    """Package folders inside the library trees."""
    patterns = ("python*/site-packages", "python*/dist-packages", "python*/*/site-packages")
    return sorted({str(path) for root in roots for pattern in patterns for path in Path(root).glob(pattern)})


def _split(root: str, hidden: Sequence[str], read: list[str], listed: list[str]) -> None:
    """Landlock can only add rights: write a tree with holes as the list of what is beside the holes."""
    if root in hidden:
        return
    if not any(path.startswith(root + "/") for path in hidden):
        read.append(root)
        return
    listed.append(root)
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.is_symlink():
            continue
        _split(entry.path, hidden, read, listed)


@functools.cache
def view() -> View:
    """The view of this interpreter's sandboxes; computed once a process."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    python = os.path.realpath(base)
    packages, roots = _packages(), _roots()
    hidden = _hidden(roots)
    entries = [os.path.join(site, name) for site, names in sorted(packages.items()) for name in sorted(names)]
    files = [path for path in FILES if os.path.exists(path)]
    shown = [(path, path) for path in (*roots, python, *files) if path == python or os.path.realpath(path) == path]
    shown += [("", path) for path in hidden]
    shown += [(os.path.realpath(path), path) for path in entries]
    links = [("/dev/shm", "/box"), ("/dev/fd", "/proc/self/fd")]  # noqa: S108 - POSIX shared memory counts as scratch
    links += [(path, os.path.realpath(path)) for path in LIBRARIES if os.path.islink(path)]
    if os.path.realpath(sys.base_prefix) != sys.base_prefix:
        links.append((sys.base_prefix, os.path.realpath(sys.base_prefix)))
    read, listed = [python, *files, *PROC_FILES, *DEVICES, *map(os.path.realpath, entries)], list(packages)
    for root in roots:
        _split(root, hidden, read, listed)
    return View(
        python, tuple(packages), tuple(shown), tuple(links), tuple(read), tuple(listed), tuple(_unseen(packages))
    )


def _unseen(packages: Mapping[str, set[str]]) -> list[str]:
    """Importable names beside the shown packages."""
    seen = {name.partition(".")[0] for names in packages.values() for name in names}
    return sorted({entry.partition(".")[0] for site in packages for entry in os.listdir(site)} - seen)


def _open_to_others(path: str, *, ancestors: bool) -> bool:
    mode = os.stat(path).st_mode
    fine = bool(mode & stat.S_IROTH) and (not stat.S_ISDIR(mode) or bool(mode & stat.S_IXOTH))
    if not ancestors:
        return fine
    return fine and all(os.stat(parent).st_mode & stat.S_IXOTH for parent in Path(path).parents)


@functools.cache
def view_is_open(*, ancestors: bool) -> bool:
    """``open_to_others`` of what every sandbox of this process is shown of Python; looked at once."""
    sight = view()
    return open_to_others([sight.python, *sight.search], ancestors=ancestors)


def open_to_others(paths: Iterable[str], *, ancestors: bool) -> bool:
    """Whether any uid may read these paths (and, with ``ancestors``, walk to them). Files in a folder count as well."""
    for path in paths:
        inside = [entry.path for entry in os.scandir(path)] if os.path.isdir(path) else []
        if not _open_to_others(path, ancestors=ancestors):
            return False
        if not all(_open_to_others(each, ancestors=False) for each in inside if os.path.exists(each)):
            return False
    return True
