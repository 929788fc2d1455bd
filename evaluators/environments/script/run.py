"""Running a script of somebody else in a sandbox. Its time is measured from outside; its score is its own word."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluators.child.frames import Kind, pack_files
from evaluators.contract import HarnessFault, Measurement, Profile, Progress
from evaluators.environments.script import reading
from evaluators.environments.script.definition import Definition, Run
from evaluators.harness.identity import code_sha256, fingerprint
from evaluators.harness.verdicts import Verdict
from evaluators.harness.wire import TICK_SECONDS, Ended, Wire, WireError, describe, not_ready
from evaluators.sandbox import Bounds, Confined, Exit, Isolation, SandboxUnavailable, spawn
from evaluators.sandbox.view import view, view_is_open
from trials.vocab import Label

CHILD = Path(__file__).resolve().parent / "child"
START_SECONDS = 60.0
LOG_BYTES = 1 << 20


@dataclass
class _Record:
    """What is known so far about one measurement; ``code_bytes`` is 0 where the script's own count covers its code."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, float | int | str] = field(default_factory=dict)
    secondary: dict[str, float] = field(default_factory=dict)
    code_bytes: int | None = None
    payload_bytes: int | None = None
    log: bytes = b""


def measure(
    definition: Definition,
    profile: Profile,
    source: Mapping[str, bytes],
    *,
    seed: int,
    split: str,
    isolation: Isolation,
    report: Callable[[Progress], None],
) -> Measurement:
    """Run the command once and read its log. Raises HarnessFault for faults of our own, and what ``report`` raises."""
    trial = _Trial(definition, profile, seed, isolation, report)
    status, reason, excerpt, score = "ok", "", "", None
    try:
        score = trial.score(source)
    except Verdict as verdict:
        status, reason, excerpt = str(verdict.status), verdict.reason, verdict.excerpt
        trial.record.numbers.update(verdict.numbers)
    except (SandboxUnavailable, OSError) as error:
        raise HarnessFault(f"{definition.file}: {error}") from error
    return Measurement(
        status=status,
        reason=reason,
        seed=seed,
        split=split,
        score=score,
        isolation=isolation.to_json(),
        fingerprint=fingerprint(),
        evaluator_sha256=code_sha256("script"),
        data_sha256={"definition": definition.sha256},
        score_source=definition.spec.score_source,
        excerpt=excerpt,
        **vars(trial.record),
    )


class _Trial:
    """One measurement under way."""

    def __init__(
        self,
        definition: Definition,
        profile: Profile,
        seed: int,
        isolation: Isolation,
        report: Callable[[Progress], None],
    ) -> None:
        self.patterns, self.run, self.limits = definition.patterns, definition.runs[profile.name], profile.limits
        self.seed, self.isolation, self.report = seed, isolation, report
        self.record = _Record()
        self.record.numbers["load_average"] = round(os.getloadavg()[0], 2)

    def score(self, source: Mapping[str, bytes]) -> float:
        """Run, then read. Raises Verdict."""
        run, wall = self.run, START_SECONDS + self.limits.train_seconds
        bounds = Bounds(
            wall_seconds=wall,
            cpu_seconds=START_SECONDS + run.cpu_seconds,
            memory_bytes=self.limits.memory_bytes,
            scratch_bytes=run.scratch_bytes,
            log_bytes=LOG_BYTES,
            processes=run.processes,
        )
        self.report(Progress("run", 0.0))
        paths = [Path(path) for path in run.readonly]
        with spawn(self.isolation, bounds, argv=(), readonly=paths, child=CHILD) as confined:
            wire = Wire(confined, lambda units: None)
            self._start(wire, confined, source)
            try:
                ended = self._follow(wire, confined)
            finally:
                confined.kill()
                self.record.log = confined.log()
        lines = reading.lines_of(self.record.log, LOG_BYTES)
        _check_end(ended, lines)
        return self._figures(lines)

    def _start(self, wire: Wire, confined: Confined, source: Mapping[str, bytes]) -> None:
        """Settings out, a sign of life back, files out. Raises HarnessFault."""
        settings = prepared(self.run, self.seed)
        try:
            wire.start_clock(START_SECONDS)
            wire.send(Kind.SETTINGS, json.dumps(settings).encode())
            wire.receive({Kind.READY: 0})
            self._book("start", *wire.clocks())
            wire.start_clock(self.limits.train_seconds)
            wire.send(Kind.SOURCE, pack_files(source))
        except WireError as error:
            raise not_ready(error, confined.log()) from error

    def _follow(self, wire: Wire, confined: Confined) -> Exit:
        """Wait for the end. Raises Verdict when a cap is passed, HarnessFault when the command could not be started."""
        ended = None
        while ended is None:
            ended = confined.wait(TICK_SECONDS)
            wall, cpu = wire.clocks()
            self._book("run", wall, cpu)
            _check_cap("seconds", "wall clock", wall, self.limits.train_seconds)
            _check_cap("cpu_seconds", "CPU time", cpu, self.run.cpu_seconds)
            self.report(Progress("run", min(1.0, wall / self.limits.train_seconds), tail=confined.log_tail))
        try:
            _, why = wire.receive({})
        except Ended:  # its pipes closed when it became the command
            return ended
        raise HarnessFault(f"the command cannot be started: {why.decode(errors='replace')}")

    def _book(self, phase: str, wall: float, cpu: float) -> None:
        self.record.seconds[phase], self.record.cpu_seconds[phase] = round(wall, 3), round(cpu, 3)

    def _figures(self, lines: list[str]) -> float:
        """Size, time, gate and score, as the log tells them. Raises Verdict for one that is needed and not there."""
        patterns, record = self.patterns, self.record
        if (
            patterns.size
            and (size := self._figure("size", lines, reading.whole, self.limits.artifact_bytes)) is not None
        ):
            record.code_bytes, record.payload_bytes = 0, int(size)
        if patterns.seconds and (told := self._figure("seconds", lines, reading.number, None)) is not None:
            record.numbers["seconds_told"] = told
        if patterns.gate and (gate := self._figure("gate", lines, reading.number, self.run.gate_minimum)) is not None:
            record.secondary["gate"] = gate
        score = self._figure("score", lines, reading.number, True)
        assert score is not None
        return score

    def _figure(
        self, name: str, lines: list[str], parse: Callable[[str], float | None], needed: object
    ) -> float | None:
        """One figure; None when it is not there and ``needed`` is None. Raises Verdict."""
        told = reading.last(getattr(self.patterns, name), lines)
        value = None if told is None else parse(told)
        if value is None and needed is not None:
            what = "no line of the log matches its pattern" if told is None else f"the log says {told[:40]!r}"
            raise Verdict(Label.INVALID_RESULT, f"{name}: {what}, expected a finite number", {"figure": name})
        return value


def why_not(isolation: Isolation) -> str:
    """Why this host's isolation cannot run a program of its own, empty when it can.

    Root's sandboxes read a closed home by a capability that is lost when the script takes the process over; only a
    curated root shows the interpreter in the open. Some other one of the system would be found, or none.
    """
    if isolation.level >= "L3" or os.geteuid() != 0 or view_is_open(ancestors=True):
        return ""
    return f"at {isolation.level} a script of root cannot read {view().python}: run the worker as another user"


def prepared(run: Run, seed: int) -> dict[str, object]:
    """What the child needs: the command and its variables with nothing left to replace, and where packages are."""
    sight = view()

    def fill(word: str) -> str:
        return word.replace("{python}", sight.python).replace("{seed}", str(seed))

    return {
        "command": [fill(word) for word in run.command],
        "env": {name: fill(value) for name, value in run.env.items()},
        "search": os.pathsep.join(sight.search),
    }


def _check_cap(name: str, what: str, spent: float, allowed: float) -> None:
    if spent > allowed:
        reason = f"{what}: {spent:.1f} s of {allowed:g} s"
        numbers = {name: round(spent, 3), f"{name}_over": round(spent - allowed, 3)}
        raise Verdict(Label.TRAIN_BUDGET_OVERRUN, reason, numbers)


def _check_end(ended: Exit, lines: list[str]) -> None:
    """Raises Verdict for a script that did not end well, HarnessFault when the sandbox broke."""
    if ended.cause == "fault":
        raise HarnessFault("the sandbox broke while the script ran")
    if ended.code == 0:
        return
    said, excerpt = reading.excerpt(lines)
    how = ended.cause or describe(ended)
    numbers = {} if ended.code is None else {"exit_code": ended.code}
    reason = how if ended.cause or not said else f"{said} ({how})"
    raise Verdict(Label.CRASH, reason, numbers, excerpt=excerpt or how)
