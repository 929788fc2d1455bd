"""The TOML file of a script: what it may hold, read into frozen values, or one error with file, key and expectation."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from evaluators.contract import EnvironmentSpec, Limits, Profile
from evaluators.preflight import read_recipe
from trials.vocab import Direction

SCRATCH_BYTES = 256 << 20
PROCESSES = 64
PLACEHOLDERS = ("{python}", "{seed}")
_REQUIRED = object()


class DefinitionError(ValueError):
    """A file that cannot be used: which file, which key, what was expected."""


@dataclass(frozen=True)
class Patterns:
    """Regular expressions with the one named group ``value``. Empty: the script does not print such a figure."""

    score: str
    size: str = ""
    seconds: str = ""
    gate: str = ""


@dataclass(frozen=True)
class Run:
    """How a profile runs the script.

    command, env: words in which ``{python}`` and ``{seed}`` are replaced. readonly: files and folders of the host that
    are shown. cpu_seconds: of the whole process tree. scratch_bytes: what the script may write. gate_minimum: of the
    figure that ``patterns.gate`` finds. loopback: whether its processes may meet over TCP. processes: with threads.
    """

    command: tuple[str, ...]
    env: Mapping[str, str]
    readonly: tuple[str, ...]
    cpu_seconds: float
    scratch_bytes: int
    gate_minimum: float | None
    loopback: bool
    processes: int


@dataclass(frozen=True)
class Definition:
    """One file, read. runs: by name of profile. sha256: of the file's bytes."""

    file: Path
    sha256: str
    spec: EnvironmentSpec
    patterns: Patterns
    runs: Mapping[str, Run]


class Table:
    """One table of the file. Keys are taken one by one; ``end`` refuses those that nobody takes."""

    def __init__(self, file: Path, values: Mapping[str, object], where: str = "") -> None:
        self.file, self._where = file, where
        self._left, self._known = dict(values), list[str]()

    def wrong(self, key: str, what: str, expected: str) -> DefinitionError:
        return DefinitionError(f"{self.file}: {self._where}{key}: {what}, expected {expected}")

    def take(self, key: str, expected: str, fits: Callable[[Any], bool], default: object = _REQUIRED) -> Any:
        """The value of a key. Raises DefinitionError when it is missing or does not fit."""
        self._known.append(key)
        if key not in self._left:
            if default is _REQUIRED:
                raise self.wrong(key, "it is missing", expected)
            return default
        value = self._left.pop(key)
        if not fits(value):
            raise self.wrong(key, f"it is {str(value)[:100]!r}", expected)
        return value

    def text(self, key: str, most: int, default: object = _REQUIRED) -> str:
        fits: Callable[[Any], bool] = lambda value: isinstance(value, str) and 0 < len(value) <= most  # noqa: E731
        return str(self.take(key, f"a text of 1 to {most} characters", fits, default))

    def texts(self, key: str, expected: str, default: object = _REQUIRED) -> tuple[str, ...]:
        return tuple(self.take(key, expected, _are_texts, default))

    def number(self, key: str) -> float:
        return float(self.take(key, "a number above 0", lambda value: _is_number(value) and value > 0))

    def whole(self, key: str, default: object = _REQUIRED) -> Any:
        return self.take(key, "a whole number above 0", lambda value: type(value) is int and value > 0, default)

    def table(self, key: str) -> Table:
        values = self.take(key, "a table", lambda value: isinstance(value, dict))
        return Table(self.file, values, f"{self._where}{key}.")

    def tables(self, key: str) -> dict[str, Table]:
        """Name -> table, at least one."""
        values = self.take(key, f"at least one table [{key}.NAME]", _are_tables)
        return {name: Table(self.file, value, f"{self._where}{key}.{name}.") for name, value in values.items()}

    def end(self) -> None:
        for key in sorted(self._left):
            raise self.wrong(key, "it is unknown", f"one of {', '.join(self._known)}")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item for item in value)


def _are_tables(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(item, dict) for item in value.values())


def load_all(folders: str) -> list[Definition]:
    """Every ``*.toml`` in folders that are separated by ``os.pathsep``, by name of file. Raises DefinitionError."""
    found: list[Definition] = []
    for name in filter(None, folders.split(os.pathsep)):
        if not Path(name).is_dir():
            raise DefinitionError(f"{name} is not a folder, expected folders that hold *.toml files")
        found += [load(path) for path in sorted(Path(name).resolve().glob("*.toml"))]
    return found


def load(file: Path) -> Definition:
    """Read one file. Raises DefinitionError."""
    try:
        data = file.read_bytes()
        table = Table(file, tomllib.loads(data.decode()))
    except (OSError, ValueError) as error:
        raise DefinitionError(f"{file}: it cannot be read: {error}, expected a TOML file") from error
    patterns = _patterns(table.table("patterns"))
    profiles = table.tables("profiles")
    runs = {name: _run(profile, patterns) for name, profile in profiles.items()}
    spec = _spec(table, {name: _profile(name, profile, runs[name], patterns) for name, profile in profiles.items()})
    for each in (table, *profiles.values()):
        each.end()
    try:
        read_recipe(spec)
    except ValueError as error:
        raise table.wrong("files", str(error), f"names of files below {spec.recipe_dir}") from error
    return Definition(file, sha256(data).hexdigest(), spec, patterns, runs)


def _spec(table: Table, profiles: Mapping[str, Profile]) -> EnvironmentSpec:
    name = table.text("name", 60)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise table.wrong("name", f"it is {name!r}", "small letters, digits and underscores")
    directions = [str(direction) for direction in Direction]
    files = table.texts("files", "a list of file names that may be changed")
    joins = table.texts("joins", "a list of file names that may not be changed", ())
    for key, names in (("files", files), ("joins", joins)):
        for each in names:
            path = PurePosixPath(each)
            if path.is_absolute() or ".." in path.parts or str(path) != each or [*files, *joins].count(each) > 1:
                raise table.wrong(key, f"it has {each!r}", "names below the folder, each of them once")
    return EnvironmentSpec(
        name=name,
        title=table.text("title", 100),
        score_name=table.text("score_name", 40),
        score_unit=table.text("score_unit", 100),
        direction=Direction(table.take("direction", " or ".join(directions), lambda value: value in directions)),
        files=files,
        joins=joins,
        recipe_dir=table.file.parent / table.text("folder", 1000),
        profiles=profiles,
        score_source="log",
    )


def _patterns(table: Table) -> Patterns:
    found = Patterns(table.text("score", 1000), *(table.text(key, 1000, "") for key in ("size", "seconds", "gate")))
    table.end()
    for key, pattern in asdict(found).items():
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise table.wrong(key, f"it does not compile: {error}", "a regular expression") from error
        if pattern and groups != {"value"}:
            raise table.wrong(key, f"its named groups are {sorted(groups)}", "the one group (?P<value>...)")
    return found


def _run(table: Table, patterns: Patterns) -> Run:
    command = table.texts("command", "a list of words")
    if command[0] != "{python}" and not command[0].startswith("/"):
        expected = "{python} or an absolute path, because the sandbox has no PATH worth searching"
        raise table.wrong("command", f"it begins with {command[0]!r}", expected)
    env = table.take("env", "a table of texts", _is_environment, {})
    for key, words in (("command", command), ("env", env.values())):
        for placeholder in re.findall(r"\{[a-z_]+\}", " ".join(words)):
            if placeholder not in PLACEHOLDERS:
                raise table.wrong(key, f"it has {placeholder}", " or ".join(PLACEHOLDERS))
    readonly = table.texts("readonly", "a list of absolute paths", ())
    if any(not path.startswith("/") for path in readonly):
        raise table.wrong("readonly", f"it is {list(readonly)}", "absolute paths")
    minimum = table.take("gate_minimum", "a number", _is_number, None)
    if minimum is not None and not patterns.gate:
        raise table.wrong("gate_minimum", "there is no patterns.gate", "a pattern that finds what the gate is about")
    return Run(
        command=command,
        env=dict(env),
        readonly=readonly,
        cpu_seconds=table.number("cpu_seconds"),
        scratch_bytes=table.whole("scratch_bytes", SCRATCH_BYTES),
        gate_minimum=None if minimum is None else float(minimum),
        loopback=table.take("loopback", "true or false", lambda value: type(value) is bool, False),
        processes=table.whole("processes", PROCESSES),
    )


def _is_environment(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _profile(name: str, table: Table, run: Run, patterns: Patterns) -> Profile:
    """The profile as campaigns freeze it: its settings hold all that decides a label."""
    if len(name) > 20:
        raise DefinitionError(f"{table.file}: profiles.{name}: the name is too long, expected at most 20 characters")
    size = table.whole("artifact_bytes", None)
    if size is not None and not patterns.size:
        raise table.wrong("artifact_bytes", "there is no patterns.size", "a pattern that finds the artifact's size")
    limits = Limits(
        train_seconds=table.number("wall_seconds"),
        eval_seconds=0.0,
        memory_bytes=table.whole("memory_bytes"),
        artifact_bytes=size,
    )
    settings = {**asdict(run), "patterns": asdict(patterns)}
    return Profile(name=name, device="cpu", limits=limits, settings=settings)
