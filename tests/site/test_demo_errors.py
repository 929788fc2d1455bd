"""Bad input to ``make demo``, ``manage.py`` and ``make setup``: one clear line, status 1, nothing started."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from autoresearch_site import embedded
from autoresearch_site.demo import DemoError, DemoSettings
from tests.site.census import ROOT, belonging, data_folder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A DATA_DIR; none of the commands below gets so far as to start anything in it."""
    with data_folder() as made:
        yield made


def run(command: str, environment: dict[str, str], root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
    return subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=root,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def the_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a command that failed, said nothing else and left nothing behind."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "http", "PORT is 'http', expected a whole number from 1 to 65535"),
        ("PORT", "70000", "PORT is '70000', expected a whole number from 1 to 65535"),
        ("DEMO_TRIALS", "-1", "DEMO_TRIALS is '-1', expected a whole number from 1 to"),
        ("DEMO_SEED", "1.5", "DEMO_SEED is '1.5', expected a whole number from 0 to"),
        ("DEMO_EXIT", "perhaps", "DEMO_EXIT is 'perhaps', expected 1 or 0"),
    ],
)
def test_a_setting_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DemoError) as caught:
        DemoSettings.read()
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DEMO_TRIALS", "0", "DEMO_TRIALS is '0', expected a whole number from 1 to"),
        ("DATA_DIR", "/proc/var", "DATA_DIR /proc/var is not writable"),
        ("DATA_DIR", "/" + "x" * 149, "is 150 bytes long, expected at most 89"),
    ],
)
def test_the_command_says_it_in_one_line(folder: Path, name: str, value: str, expected: str) -> None:
    assert expected in the_line(run("demo", {"DATA_DIR": str(folder)} | {name: value}))
    assert not belonging(folder)


def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        line = the_line(run("demo", {"DATA_DIR": str(folder), "PORT": str(port)}))
    assert f"port {port} of 127.0.0.1 cannot be used (Address already in use), expected a free one: set PORT" in line
    assert not (folder / "postgres").exists()


def test_a_recipe_file_that_is_missing(folder: Path, tmp_path: Path) -> None:
    for name in ("trials", "evaluators", "specialists", "autoresearch_site", "templates", "static"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("manage.py", "verify_bundle.py"):
        shutil.copy(ROOT / name, tmp_path)
    lost = tmp_path / "evaluators" / "environments" / "parameter_golf" / "recipe" / "loss.py"
    lost.unlink()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    line = the_line(run("demo", {"DATA_DIR": str(folder), "PORT": str(port)}, tmp_path))
    assert f"{lost} is missing" in line
    assert not (folder / "postgres").exists()


def test_a_database_that_refuses(folder: Path) -> None:
    url = "postgres://somebody:secret@127.0.0.1:1/there"
    line = the_line(run("showmigrations", {"DATA_DIR": str(folder), "DATABASE_URL": url}))
    assert "the database there at 127.0.0.1 (DATABASE_URL) refuses or is not there" in line
    assert "secret" not in line


def test_a_wrong_password(data_dir: Path) -> None:
    found = embedded.ensure(data_dir).database
    place = f"host={quote(str(found['HOST']), safe='')}&port={found['PORT']}"
    url = f"postgres://autoresearch:wrong@/autoresearch?{place}"
    line = the_line(run("showmigrations", {"DATA_DIR": str(data_dir), "DATABASE_URL": url}))
    assert "(DATABASE_URL) refuses" in line
    assert 'password authentication failed for user "autoresearch"' in line
    (data_dir / "pgpass").write_text("*:*:*:autoresearch:wrong\n")
    line = the_line(run("showmigrations", {"DATA_DIR": str(data_dir)}))
    assert f"the embedded database in {data_dir}/run refuses its own password" in line
    assert 'password authentication failed for user "autoresearch"' in line


def test_an_old_python_can_read_manage_py_far_enough() -> None:
    source = (ROOT / "manage.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    first_import = next(node.lineno for node in tree.body if isinstance(node, ast.ImportFrom))
    assert source.index("sys.version_info < (3, 11)") < source.index(source.splitlines()[first_import - 1])


SETUP_STUBS = {
    "old": ('case "$*" in *version_info*) exit 1;; --version) echo Python 3.9.2;; esac', "is Python 3.9.2, expected"),
    "bare": (
        'case "$*" in *ensurepip*) exit 1;; *"%d.%d"*) echo 3.12;; esac',
        "cannot make virtual environments: as root, apt install python3.12-venv",
    ),
}


@pytest.mark.parametrize("kind", SETUP_STUBS)
def test_setup_with_a_python_that_will_not_do(tmp_path: Path, kind: str) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for path in ROOT.glob("requirements*.txt"):
        shutil.copy(path, tmp_path)
    body, expected = SETUP_STUBS[kind]
    stub = tmp_path / "python"
    stub.write_text(f"#!/bin/sh\n{body}\n")
    stub.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "scripts" / "setup"],
        env={"PATH": os.environ["PATH"], "PYTHON": str(stub)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert expected in the_line(done)
    assert not (tmp_path / ".venv").exists()
