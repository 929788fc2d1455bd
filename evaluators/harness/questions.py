"""Questions to a recipe in fresh sandboxes: what an environment with a child program of its own needs, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from evaluators.child.frames import Kind, pack_files
from evaluators.contract import HarnessFault, Limits, Measurement, Progress
from evaluators.harness.identity import fingerprint
from evaluators.harness.verdicts import Phase, Verdict, of_failure, of_wire
from evaluators.harness.wire import Wire, WireError, not_ready
from evaluators.sandbox import Bounds, SandboxUnavailable, reach, spawn

START_SECONDS = 60.0
SCRATCH_BYTES = 16 << 20

Ask = Callable[[Kind, bytes, Kind, int], bytes]
"""(kind of the question, its bytes, kind of the answer, most bytes of it) -> the answer. Raises Verdict, WireError."""


class Interview:
    """The processes of one measurement, one after the other. They share nothing but what the caller passes on.

    child: folder whose ``__main__.py`` runs in the sandbox. It reads SETTINGS, answers READY and reads SOURCE; what
    follows is the environment's own protocol. artifact: to be set by the environment, None before there is one.
    Raises HarnessFault when there is no sandbox on this host.
    """

    def __init__(self, child: Path, level: str, limits: Limits, report: Callable[[Progress], None]) -> None:
        try:
            self.isolation = reach(level)
        except SandboxUnavailable as error:
            raise HarnessFault(str(error)) from error
        self._child, self._limits, self._report = child, limits, report
        self._seconds: dict[str, float] = {}
        self._cpu_seconds: dict[str, float] = {}
        self._log = b""
        self.artifact: bytes | None = None

    @contextmanager
    def process(self, phase: Phase, settings: Mapping[str, object], source: Mapping[str, bytes]) -> Iterator[Ask]:
        """A fresh sandbox that has been sent the recipe. The phase's limit caps its wall-clock and its CPU seconds.

        Raises Verdict for all that a recipe does, HarnessFault for a runner that does not start, SandboxUnavailable.
        """
        allowed = self._limits.train_seconds if phase == "train" else self._limits.eval_seconds
        longest = START_SECONDS + allowed
        bounds = Bounds(longest, longest, self._limits.memory_bytes, SCRATCH_BYTES)
        with spawn(self.isolation, bounds, argv=(), child=self._child) as confined:
            wire = Wire(confined, lambda _: self._report(Progress(phase, min(1.0, wire.clocks()[0] / longest))))
            try:
                wire.start_clock(START_SECONDS)
                wire.send(Kind.SETTINGS, json.dumps({**settings, "phase": phase}).encode())
                wire.receive({Kind.READY: 0})
            except WireError as error:
                raise not_ready(error, confined.log()) from error

            def ask(kind: Kind, payload: bytes, answer: Kind, most: int) -> bytes:
                wire.send(kind, payload)
                got, body = wire.receive({answer: most})
                if got is Kind.FAILED:
                    raise of_failure(body, phase, 0)
                return body

            wire.start_clock(allowed, cpu_floor=allowed)
            try:
                wire.send(Kind.SOURCE, pack_files(source))
                yield ask
            except WireError as error:
                raise of_wire(error, phase, None) from error
            finally:
                wall, cpu = wire.clocks()
                self._seconds[phase], self._cpu_seconds[phase] = round(wall, 3), round(cpu, 3)
                self._log += confined.log()

    def measurement(
        self,
        run: Callable[[], float],
        *,
        seed: int,
        split: str,
        evaluator_sha256: str,
        data_sha256: Mapping[str, str],
        code_bytes: int = 0,
    ) -> Measurement:
        """What came of ``run``, which returns the score or raises Verdict. code_bytes: what the source itself costs.

        Raises HarnessFault for faults of our own, and what ``report`` raises (Cancelled).
        """
        status, reason, excerpt, score = "ok", "", "", None
        numbers: Mapping[str, float | int | str] = {}
        try:
            score = run()
        except Verdict as verdict:
            status, reason, excerpt, numbers = str(verdict.status), verdict.reason, verdict.excerpt, verdict.numbers
        except SandboxUnavailable as error:
            raise HarnessFault(str(error)) from error
        return Measurement(
            status=status,
            reason=reason,
            seed=seed,
            split=split,
            score=score,
            numbers=numbers,
            code_bytes=code_bytes,
            payload_bytes=None if self.artifact is None else len(self.artifact),
            artifact_sha256="" if self.artifact is None else sha256(self.artifact).hexdigest(),
            seconds=self._seconds,
            cpu_seconds=self._cpu_seconds,
            isolation=self.isolation.to_json(),
            fingerprint=fingerprint(),
            evaluator_sha256=evaluator_sha256,
            data_sha256=data_sha256,
            excerpt=excerpt,
            log=self._log,
        )
