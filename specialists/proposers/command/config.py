"""Which program is the agent and what it gets, read from the environment of the process that runs it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.sandbox.view import view

COMMAND = "AUTORESEARCH_COMMAND"
PLACEHOLDERS = ("{prompt}", "{prompt_file}", "{files}", "{python}")
#: What most programs need to start and to check certificates; shown where it exists.
USUAL = (
    "/usr/bin",
    "/bin",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
)
NEVER = ("/", "/etc", "/proc", "/sys", "/dev", "/run", "/var", "/home", "/root", "/tmp")  # noqa: S108 - refused
#: Variables of the agent that this project sets itself, or that change what a program loads.
RESERVED = frozenset({"HOME", "TMPDIR", "PATH", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_HOST = re.compile(r"(?P<name>[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:(?P<port>[0-9]{1,5}))?")


class NotConfigured(ValueError):
    """No agent, or a setting that cannot be used: which variable, what it is, what was expected."""


@dataclass(frozen=True)
class Config:
    """One agent.

    program: its file, without symbolic links; words: the command line with its placeholders; plain: variables written
    in front of it, for everybody to see. secret: variables passed by name, never written anywhere. hosts: (name, port)
    that may be reached, none without network. show: files and folders of the host that are shown, read-only.
    """

    program: str
    words: tuple[str, ...]
    plain: Mapping[str, str]
    secret: Mapping[str, str]
    hosts: tuple[tuple[str, int], ...]
    show: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    memory_bytes: int
    scratch_bytes: int
    processes: int

    def as_json(self) -> dict[str, Any]:
        """For the record: everything but the values of secret variables."""
        return {
            "command": [*(f"{name}={value}" for name, value in self.plain.items()), *self.words],
            "variables": sorted(self.secret),
            "hosts": [f"{name}:{port}" for name, port in self.hosts],
            "show": list(self.show),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "memory_bytes": self.memory_bytes,
            "scratch_bytes": self.scratch_bytes,
            "processes": self.processes,
        }

    def path(self) -> str:
        """PATH inside: the program's folder, ``bin`` of every shown folder, the system's."""
        own = [str(Path(self.program).parent), *(f"{place}/bin" for place in self.show if Path(place, "bin").is_dir())]
        return os.pathsep.join(dict.fromkeys((*own, "/usr/bin", "/bin")))


def read(environ: Mapping[str, str], private: Sequence[Path]) -> Config:
    """The agent of this environment. private: folders of this installation that are shown to nobody.

    Raises NotConfigured with one line.
    """
    text = environ.get(COMMAND, "").strip()
    if not text:
        raise NotConfigured(
            f"{COMMAND} is not set, expected the command line of an agent, such as claude -p {{prompt}}"
        )
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise NotConfigured(f"{COMMAND}: {error}, expected words as for a shell") from None
    plain: dict[str, str] = {}
    while words and _ASSIGNMENT.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        plain[name] = value
    _check_words(words)
    show = _shown(environ, private)
    seconds = _number(environ, "SECONDS", 900, 1, 4 * 3600)
    return Config(
        program=_program(words[0], show),
        words=tuple(words),
        plain=_unreserved(COMMAND, plain),
        secret=_unreserved(f"{COMMAND}_VARIABLES", _passed(environ)),
        hosts=tuple(_host(word) for word in _words(environ, "HOSTS")),
        show=show,
        seconds=float(seconds),
        cpu_seconds=float(_number(environ, "CPU_SECONDS", seconds, 1, 64 * 3600)),
        memory_bytes=_number(environ, "MEMORY_MB", 4096, 64, 1 << 20) << 20,
        scratch_bytes=_number(environ, "SCRATCH_MB", 512, 1, 1 << 16) << 20,
        processes=_number(environ, "PROCESSES", 256, 4, 4096),
    )


def _check_words(words: Sequence[str]) -> None:
    if not words:
        raise NotConfigured(f"{COMMAND} names no program, expected one behind its variables")
    found = re.findall(r"\{[a-z_]+\}", " ".join(words))
    for placeholder in found:
        if placeholder not in PLACEHOLDERS:
            raise NotConfigured(f"{COMMAND} has {placeholder}, expected only {', '.join(PLACEHOLDERS)}")
    if not {"{prompt}", "{prompt_file}"} & set(found):
        raise NotConfigured(f"{COMMAND} tells the agent no task, expected {{prompt}} or {{prompt_file}} in it")


def _words(environ: Mapping[str, str], name: str) -> list[str]:
    return [word.strip() for word in environ.get(f"{COMMAND}_{name}", "").split(",") if word.strip()]


def _number(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(f"{COMMAND}_{name}", "").strip() or str(default)
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise NotConfigured(f"{COMMAND}_{name} is {text[:40]!r}, expected a whole number from {low} to {high}")
    return int(text)


def _passed(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name in _words(environ, "VARIABLES"):
        if name not in environ:
            raise NotConfigured(f"{COMMAND}_VARIABLES names {name[:60]}, which is not set here")
        found[name] = environ[name]
    return found


def _unreserved(where: str, variables: Mapping[str, str]) -> Mapping[str, str]:
    for name in variables:
        if name.upper() in RESERVED or name.startswith(("LD_", "AUTORESEARCH_")):
            raise NotConfigured(f"{where} has {name}, expected no variable that the sandbox sets itself")
    return variables


def _host(word: str) -> tuple[str, int]:
    match = _HOST.fullmatch(word.lower())
    port = int(match["port"] or 443) if match else 0
    if match is None or not 0 < port < 1 << 16:
        raise NotConfigured(f"{COMMAND}_HOSTS has {word[:80]!r}, expected names such as api.example.com or host:port")
    return match["name"], port


def _shown(environ: Mapping[str, str], private: Sequence[Path]) -> tuple[str, ...]:
    found = []
    for word in filter(None, environ.get(f"{COMMAND}_SHOW", "").split(os.pathsep)):
        where = f"{COMMAND}_SHOW has {word[:200]!r}"
        if not word.startswith("/") or not os.path.exists(word):
            raise NotConfigured(f"{where}, which is not there, expected absolute paths separated by {os.pathsep!r}")
        place = os.path.abspath(word)
        for path in {place, os.path.realpath(place)}:
            if path in NEVER or any(Path(path) in (folder, *folder.parents) for folder in map(_real, private)):
                raise NotConfigured(f"{where}, which holds more than an agent, expected the agent's own folder")
            if any(folder in Path(path).parents for folder in map(_real, private)):
                raise NotConfigured(f"{where}, which belongs to this site, expected the agent's own folder")
        found.append(place)
    return tuple(dict.fromkeys(found))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _program(word: str, show: Sequence[str]) -> str:
    """The file of the first word, which has to be among what is shown."""
    if word == "{python}":
        return view().python
    found = shutil.which(word) if "/" not in word or os.path.isabs(word) else None
    if found is None:
        raise NotConfigured(f"{COMMAND} begins with {word[:200]!r}, expected a program in PATH or its absolute path")
    real = os.path.realpath(found)
    seen = [os.path.realpath(place) for place in (*USUAL, *show) if os.path.exists(place)]
    if not any(real == place or real.startswith(f"{place}/") for place in seen):
        raise NotConfigured(f"{real} is not visible in the sandbox, expected the agent's folder in {COMMAND}_SHOW")
    return real
