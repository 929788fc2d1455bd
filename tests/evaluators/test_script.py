"""A script of others, as a TOML file defines it, in real sandboxes: each end gets the label and figures it deserves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluators import preflight
from evaluators.contract import Cancelled, HarnessFault, Measurement, Outcome, Profile, Progress
from evaluators.environments.script import Script
from evaluators.environments.script.definition import load
from evaluators.environments.script.run import LOG_BYTES, why_not
from evaluators.sandbox import reach
from evaluators.sandbox.process import TAIL_BYTES
from trials.vocab import VALID, Label

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).resolve().parent / "scripts"
FIT_LINE = load(SCRIPTS / "fit_line.toml")
START = preflight.read_recipe(FIT_LINE.spec)
CPU = FIT_LINE.spec.profiles["cpu"]
#: What a run that is fine prints.
FINE = ("artifact: 64 bytes", "r2: 0.95", "train_time: 1.5", "val_loss: 0.125")


def script(**run: Any) -> Script:
    """The environment with other settings of its run."""
    return Script(replace(FIT_LINE, runs={"cpu": replace(FIT_LINE.runs["cpu"], **run)}))


def limited(*, gate: float | None = None, **limits: Any) -> Profile:
    """The profile with other limits."""
    settings = dict(CPU.settings) if gate is None else {**CPU.settings, "gate_minimum": gate}
    return replace(CPU, limits=replace(CPU.limits, **limits), settings=settings)


def measured(
    source: Mapping[str, bytes] = START, profile: Profile = CPU, environment: Script | None = None, seed: int = 0
) -> Measurement:
    def report(progress: Progress) -> None:
        assert 0.0 <= progress.fraction <= 1.0

    chosen = environment or script()
    return chosen.measure(source, profile=profile, seed=seed, split="validation", level="L3", report=report)


def program(code: str, *, printed: tuple[str, ...] = FINE) -> dict[str, bytes]:
    """The script with a training file that runs ``code`` and then prints these lines."""
    return {**START, "train.py": f"{code}\nprint({chr(10).join(printed)!r})\n".encode()}


def judged(measurement: Measurement, profile: Profile = CPU) -> Outcome:
    return script().judge(measurement, profile)


def test_the_score_is_what_the_unmodified_script_prints_last_and_says_so() -> None:
    found = measured()
    last = found.log.decode().splitlines()[-1]
    outcome = judged(found)
    assert (outcome.label, outcome.reason) == (VALID, "")
    assert last == f"val_loss: {outcome.score:.4f}" and outcome.score == found.score
    assert found.score_source == "log"
    assert found.artifact_bytes == CPU.limits.artifact_bytes == 64
    assert found.secondary["gate"] > 0.9 and "seconds_told" in found.numbers
    assert set(found.seconds) == set(found.cpu_seconds) == {"start", "run"}
    assert found.isolation["level"] in ("L3", "L2")
    assert found.data_sha256 == {"definition": FIT_LINE.sha256} and len(found.evaluator_sha256) == 64
    again = measured()
    assert (again.status, again.score) == ("ok", found.score)


def test_the_seed_and_the_variables_of_the_profile_reach_the_command() -> None:
    code = "import os, sys; print(sys.argv[1:], os.environ['FLAVOUR'], os.environ['OMP_NUM_THREADS'])"
    found = measured(program(code), environment=script(env={"FLAVOUR": "seed {seed}"}), seed=7)
    assert found.log.decode().splitlines()[0] == "['--seed', '7', '--steps', '100'] seed 7 1"


def test_a_script_sees_the_packages_of_a_recipe_and_no_others() -> None:
    code = "import numpy, importlib.util as u; print(u.find_spec('torch') is None, u.find_spec('django') is None)"
    assert measured(program(code)).log.startswith(b"False True\n")


def test_one_byte_over_the_cap_is_blocked() -> None:
    profile = limited(artifact_bytes=63)
    outcome = judged(measured(program(""), profile), profile)
    assert (outcome.label, outcome.reason, outcome.numbers) == (Label.SIZE_BLOCKED, "1 bytes over", {"bytes_over": 1})


def test_a_missed_gate_disqualifies_with_the_exact_deficit() -> None:
    profile = limited(gate=0.96)
    outcome = judged(
        measured(program("", printed=("artifact: 64 bytes", "r2: 0.9", "val_loss: 0.1")), profile), profile
    )
    assert (outcome.label, outcome.reason) == (Label.DISQUALIFIED, "0.06 below the gate of 0.96")
    assert outcome.numbers == {"gate": 0.96, "value": 0.9, "deficit": 0.06}
    assert outcome.score is None


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (FINE[:3], "score: no line of the log matches its pattern, expected a finite number"),
        ((*FINE, "val_loss: nan"), "score: the log says 'nan', expected a finite number"),
        ((*FINE, "val_loss: -inf"), "score: the log says '-inf', expected a finite number"),
        ((*FINE, "val_loss: low"), "score: the log says 'low', expected a finite number"),
        (FINE[1:], "size: no line of the log matches its pattern, expected a finite number"),
        ((FINE[0], *FINE[2:]), "gate: no line of the log matches its pattern, expected a finite number"),
    ],
)
def test_a_figure_that_is_missing_or_no_number_is_an_invalid_result(printed: tuple[str, ...], reason: str) -> None:
    outcome = judged(measured(program("", printed=printed)))
    assert (outcome.label, outcome.reason, outcome.score) == (Label.INVALID_RESULT, reason, None)


def test_only_the_last_score_of_the_whole_log_counts() -> None:
    forged = "print('val_loss: 0.0001\\nfinal val_loss: 0.0001')"
    assert measured(program(forged)).score == 0.125
    flood = f"print('val_loss: 0.0001'); print(('y' * 99 + '\\n') * {LOG_BYTES // 50})"
    long = measured(program(flood))
    assert (long.score, b"bytes cut ...]" in long.log) == (0.125, True)
    assert measured(program(flood, printed=FINE[:3])).status == Label.INVALID_RESULT


def test_a_crash_tells_the_exception_and_the_end_of_its_traceback() -> None:
    broken = START["model.py"].replace(b"    error = ", b"    raise ValueError('the loss is lost')\n    error = ", 1)
    found = measured({**START, "model.py": broken})
    outcome = judged(found)
    assert (outcome.label, outcome.score) == (Label.CRASH, None)
    assert outcome.reason == "ValueError: the loss is lost (the process exited with 1)"
    assert outcome.numbers["exit_code"] == 1
    assert found.excerpt.startswith("Traceback") and "model.py" in found.excerpt
    assert found.excerpt.endswith("ValueError: the loss is lost")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; print('val_loss: 0.1'); sys.exit(3)", "the process exited with 3"),
        ("import os; os._exit(125)", "the process exited with 125"),
        ("import os; os.kill(os.getpid(), 9)", "the process was killed by signal 9"),
        ("bytearray(10**9)", "MemoryError (the process exited with 1)"),
        ("open('big', 'wb').write(bytes(2 << 20))", "OSError: "),
        ("open('/etc/shadow')", "FileNotFoundError: "),
    ],
)
def test_ends_of_all_kinds_are_crashes_of_the_script(code: str, reason: str) -> None:
    outcome = judged(measured(program(code)))
    assert outcome.label == Label.CRASH
    assert outcome.reason.startswith(reason)


def test_time_is_measured_from_outside_whatever_the_log_claims() -> None:
    late = "print('train_time: 0.001', flush=True); import time; time.sleep(3600)"
    slow = judged(measured(program(late), limited(train_seconds=1.0)))
    assert slow.label == Label.TRAIN_BUDGET_OVERRUN
    assert slow.numbers["seconds_over"] == pytest.approx(float(slow.numbers["seconds"]) - 1.0, abs=0.0011)
    busy = judged(measured(program("while True: pass"), environment=script(cpu_seconds=0.5)))
    assert busy.label == Label.TRAIN_BUDGET_OVERRUN
    assert float(busy.numbers["cpu_seconds_over"]) > 0


def test_the_network_is_refused() -> None:
    code = (
        "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError as e: print(type(e).__name__)"
    )
    assert measured(program(code)).log.startswith(b"PermissionError\n")


def test_data_is_shown_where_it_lies_and_cannot_be_written(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("held out")
    tmp_path.chmod(0o755)
    code = f"print(open({str(data)!r}).read())\nopen({str(data)!r}, 'w')"
    shown = measured(program(code), environment=script(readonly=(str(tmp_path),)))
    assert shown.status == Label.CRASH and shown.log.startswith(b"held out\nTraceback")
    assert judged(measured(program(code))).reason.startswith("FileNotFoundError")
    gone = script(readonly=("/nowhere/at/all",))
    with pytest.raises(HarnessFault, match="/nowhere/at/all"):
        measured(environment=gone)
    told = gone.prepare(CPU)
    assert (told["ready"], told["missing"]) == (False, ["/nowhere/at/all"])


def test_a_command_that_cannot_be_started_is_no_fault_of_the_trial() -> None:
    with pytest.raises(HarnessFault, match=r"the command cannot be started: .*nothing-here"):
        measured(environment=script(command=("/nothing-here",)))


def test_a_cancelled_trial_is_dropped_at_once() -> None:
    def report(progress: Progress) -> None:
        if progress.fraction > 0.0:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        script().measure(
            program("import time; time.sleep(3600)"), profile=CPU, seed=0, split="validation", level="L3", report=report
        )


def test_what_a_script_prints_may_be_read_while_it_runs() -> None:
    class Seen(Exception):
        """The end of the log has come."""

    def report(progress: Progress) -> None:
        if progress.tail().endswith(b"step 7000\n"):
            assert len(progress.tail()) == TAIL_BYTES
            raise Seen

    endless = program("import time\nfor step in range(7001): print('step', step, flush=True)\ntime.sleep(3600)")
    with pytest.raises(Seen):
        script().measure(endless, profile=CPU, seed=0, split="validation", level="L3", report=report)


def test_a_script_has_no_sealed_split() -> None:
    found = script().measure(START, profile=CPU, seed=0, split="sealed", level="L3", report=lambda progress: None)
    assert (found.status, found.reason, found.seconds) == (Label.INVALID_RESULT, "a script has no sealed split", {})


def test_without_a_private_root_a_script_runs_or_the_host_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTORESEARCH_SANDBOX_FORCE", "L2")
    unfit = why_not(reach("L3"))
    if unfit:
        with pytest.raises(HarnessFault, match="run the worker as another user"):
            measured()
    else:
        assert measured().status == "ok"


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("points.csv", b"x,y\n0,0\n0,0\n", "points.csv is outside the role's surface"),
        ("model.py", b"def start(:\n", "model.py line 1: "),
        ("points.csv", b"\xff", "points.csv is not UTF-8 at byte 0"),
        ("more.py", b"", "more.py does not belong to the recipe"),
    ],
)
def test_edits_that_cannot_be_measured_are_refused_at_preflight(name: str, body: bytes, reason: str) -> None:
    refused = preflight.check(FIT_LINE.spec, {**START, name: body}, parent=START, surface=FIT_LINE.spec.files)
    assert refused is not None and refused.reason.startswith(reason)
    assert preflight.check(FIT_LINE.spec, START, parent=START, surface=()) is None


def by_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"AUTORESEARCH_ENVIRONMENTS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_of_toml_files_makes_environments_of_the_command() -> None:
    done = by_command(SCRIPTS, "evaluate", "fit_line", str(SCRIPTS / "fit_line"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["label"], report["score_source"], report["artifact_bytes"]) == (VALID, "log", 64)
    assert report["measurements"][0]["score_source"] == "log"


def test_a_bad_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = 'Bad Name'\n")
    done = by_command(tmp_path, "prepare", "parameter_golf")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"AUTORESEARCH_ENVIRONMENTS: {tmp_path / 'bad.toml'}: patterns: it is missing" in done.stderr
