"""Each guard is needed: with one wall left out of a copy of the code, the self-test names what stands open."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from evaluators.sandbox.conformance import conformance

ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
import json, sys
from evaluators.sandbox import start, warm
from evaluators.sandbox.conformance import tree_is_gone
from evaluators.sandbox.reach import self_test
from evaluators.sandbox.records import Isolation
server = warm.WarmServer(preload=["json"])
start.warm_server = lambda: server
isolation = Isolation("", "", "", sys.argv[1], start=sys.argv[2], loopback="loopback" in sys.argv)
_, checks = self_test(isolation)
if "tree_gone" in sys.argv:
    checks["tree_gone"] = tree_is_gone(isolation)
print(json.dumps(sorted(name for name, held in checks.items() if not held)))
"""
CONFINE, KERNEL = "evaluators/child/confine.py", "evaluators/child/confine_kernel.py"
WARM, START = "evaluators/child/confine_warm.py", "evaluators/sandbox/start.py"
GUARDS = [
    ("landlock cold", CONFINE, "    install(code)\n", "", "seccomp"),
    ("landlock warm", CONFINE, "    install(code)\n", "", "new_namespaces"),
    ("landlock cold", CONFINE, "            listed=settings.listed,\n", '            listed=["/"],\n', "processes"),
    ("landlock cold", CONFINE, "            written=[settings.scratch],\n", '            written=["/"],\n', "writing"),
    ("landlock warm", CONFINE, "read=[\"/\"] if private_root else", 'read=["/"] if True else', "host_files"),
    ("unshare cold", CONFINE, "    set_limits(settings.limits)\n", "", "process_limit"),
    ("landlock warm", CONFINE, "    set_limits(settings.limits)\n", "", "file_size"),
    ("unshare warm", KERNEL, "    prctl(PR_SET_NO_NEW_PRIVS, 1)\n", "", "landlock_restrict_self"),
    ("unshare cold", START, "env=variables", "env={**os.environ, **variables}", "environment"),
    ("unshare warm", WARM, "    os.closerange(lowest, MOST_DESCRIPTORS)\n", "", "descriptors"),
    ("unshare cold", "evaluators/child/confine_rooms.py", "NEW_PID | NEW_NET", "NEW_NET", "outermost process ended"),
    ("unshare cold", "evaluators/child/confine_seccomp.py", '"unshare": (272, 97), ', "", "new_namespaces"),
]  # fmt: skip
AS_ROOT = [
    ("landlock cold", KERNEL, "        os.setresuid(uid, uid, uid)\n", "", "Permission denied"),
    ("unshare cold loopback", "evaluators/child/confine_rooms.py", "NEW_PID | NEW_NET", "NEW_PID", "nobody_came"),
]


@pytest.mark.parametrize(("way", "file", "guard", "instead", "named"), GUARDS + (AS_ROOT if os.getuid() == 0 else []))
def test_a_guard_that_is_off_is_named(
    tmp_path: Path, way: str, file: str, guard: str, instead: str, named: str
) -> None:
    tmp_path.chmod(0o755)
    for package in ("evaluators", "trials"):
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("environments", "migrations", "__pycache__"),
        )
    changed = tmp_path / file
    text = changed.read_text()
    assert text.count(guard) == 1, "the guard has moved: this test has to follow"
    changed.write_text(text.replace(guard, instead))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *way.split(), named],
        env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"], "SECRET_OF_THE_WORKER": "x"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
    assert named in found


def test_every_way_of_this_host_passes_its_conformance_run() -> None:
    attempts = [each for each in conformance("L2") if each.level != "L4"]
    assert {each.level for each in attempts} == {"L3", "L2"}
    assert [f"{each.backend} {each.start}: {each.why_not}" for each in attempts if each.why_not] == []
    assert all(len(each.checks) >= 20 and all(each.checks.values()) for each in attempts)


def test_the_command_reports_levels_and_fails_for_one_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("selftest", "--level", "L2", "--json")
    report = json.loads(capsys.readouterr().out)
    assert set(report["levels"]) == {"L4", "L3", "L2"}
    assert report["levels"]["L3"]["available"] is True
    assert report["levels"]["L3"]["checks_failed"] == []
    with pytest.raises(
        CommandError, match="L1 is not available on this host: limits warm: only with ALLOW_UNISOLATED=1"
    ):
        call_command("selftest", "--level", "L1", "--json")
