"""What people type wrong: one clear line, the right status, nothing on stdout, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evaluators import preflight
from tests.conftest import ROOT
from tests.evaluators.commands import Done, manage
from tests.evaluators.golf import GOLF, START
from trials.vocab import Label

GOLF_FILES = "architecture.py, curriculum.py, evaluation.py, hyperparameters.py, loss.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The start of golf in a folder; its loss has an error of syntax, so that a judged recipe costs no measurement."""
    made = tmp_path / "recipe"
    made.mkdir()
    for name, body in START.items():
        (made / name).write_bytes(body)
    (made / "loss.py").write_text("def reduce(:\n")
    return made


def judged(folder: Path, *options: object) -> Done:
    return manage("evaluate", "parameter_golf", folder, "--profile", "smoke", "--json", *options)


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """recipe.py is not the file that it should be."""

    def change(folder: Path) -> None:
        (folder / "recipe.py").unlink()
        make(folder / "recipe.py")

    return change


def sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as stream:
            stream.truncate(size)

    return make


def listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


def crowded(folder: Path) -> None:
    for number in range(10_000):
        (folder / f"more{number:05}.py").touch()


NO_FILE = "{folder}/recipe.py is not a plain file, expected one of the recipe's 11 files"
STRANGER = " does not belong to the recipe, expected only " + GOLF_FILES
FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file is missing": (
        lambda folder: (folder / "tokenizer.py").unlink(),
        "{folder}/tokenizer.py is missing, expected the recipe's 11 files",
    ),
    "a file too many": (lambda folder: (folder / "helper.py").touch(), "{folder}/helper.py" + STRANGER),
    "10,000 files too many": (crowded, "{folder}/more"),
    "100 MB": (instead(sparse(10**8)), "{folder}/recipe.py has 100000000 bytes, expected at most 1000000"),
    "10 GB": (instead(sparse(10**10)), "{folder}/recipe.py has 10000000000 bytes, expected at most 1000000"),
    "a pipe": (instead(os.mkfifo), NO_FILE),
    "a socket": (instead(listening), NO_FILE),
    "a folder": (instead(Path.mkdir), NO_FILE),
    "a link out": (instead(lambda path: path.symlink_to("/etc/passwd")), NO_FILE),
    "a link to nothing": (instead(lambda path: path.symlink_to("nothing")), NO_FILE),
    "a folder that leads out": (lambda folder: (folder / "sub").symlink_to("/etc"), "{folder}/sub" + STRANGER),
}


@pytest.mark.parametrize(("change", "said"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_is_no_recipe_is_an_error(folder: Path, change: Callable[[Path], object], said: str) -> None:
    change(folder)
    assert judged(folder).refused().startswith(said.format(folder=folder))


def test_what_is_no_folder_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert judged(file).refused() == f"{file} is not a folder, expected one with the recipe's files"
    for missing in (tmp_path / "nothing", tmp_path / "no\ttab\nor line"):
        said = judged(missing).refused()
        assert "is missing, expected a folder with the recipe's files" in said
    assert "(File name too long)" in judged(tmp_path / ("x" * 300)).refused()


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Root reads everything, so be somebody else for a moment."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_what_cannot_be_read_is_an_error(folder: Path) -> None:
    folder.chmod(0)
    try:
        with without_rights(), pytest.raises(ValueError, match=r"recipe cannot be opened \(Permission denied\)"):
            preflight.read_folder(GOLF.spec, folder)
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"def reduce(:\n", "loss.py line 1: invalid syntax"),
        (b"x = 1\0\n", "loss.py cannot be parsed: source code string cannot contain null bytes"),
        (b"# \xff\xfe\n", "loss.py is not UTF-8 at byte 2"),
        (bytes(range(256)) * 100, "loss.py is not UTF-8 at byte 128"),
        (b"-" * 140_000 + b"1", "loss.py cannot be parsed"),
        (b"#" * 150_001, "loss.py has 150001 bytes, at most 150000 of Python are parsed"),
    ],
)
def test_a_recipe_that_cannot_be_parsed_is_a_result(folder: Path, body: bytes, reason: str) -> None:
    (folder / "loss.py").write_bytes(body)
    done = judged(folder)
    assert done.status == 0, done.err
    assert done.json["label"] == Label.PREFLIGHT_CRASH
    assert done.json["reason"].startswith(reason)
    assert done.json["score"] is None


def test_hard_links_caches_and_hidden_files_do_no_harm(folder: Path, tmp_path: Path) -> None:
    (folder / "recipe.py").rename(tmp_path / "elsewhere.py")
    os.link(tmp_path / "elsewhere.py", folder / "recipe.py")
    (folder / "__pycache__").mkdir()
    (folder / ".git").mkdir()
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert judged(linked).json["label"] == Label.PREFLIGHT_CRASH


def test_unknown_names_tell_what_there_is(folder: Path) -> None:
    environments = "expected one of cifar_airbench96, nanochat_d12, parameter_golf"
    for command in (
        ("evaluate", "golf", folder, "--json"),
        ("prepare", "golf", "--json"),
        ("recipe", "golf", "-o", "x"),
    ):
        said = manage(*command).refused()
        assert said.startswith("environment 'golf' is unknown") and environments in said
    for first in (
        ("evaluate", "parameter_golf", folder),
        ("recipe", "parameter_golf", "-o", "x"),
        ("prepare", "parameter_golf"),
    ):
        assert manage(*first, "--profile", "gpus").refused() == (
            f"profile 'gpus' of parameter_golf is unknown, expected one of {', '.join(GOLF.spec.profiles)}"
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--level", "L0"), "argument --level: invalid choice: 'L0' (choose from 'L4', 'L3', 'L2', 'L1')"),
        (("--seed=-1",), "argument --seed: '-1' is no seed, expected a whole number from 0 to 2147483647"),
        (("--seed", 2**31), "argument --seed: '2147483648' is no seed"),
        (("--seed", "9" * 5000), "is no seed, expected a whole number"),
        (("--seed", "1e3"), "argument --seed: '1e3' is no seed"),
        (("--seeds", "1", "--nonsense"), "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_status_2(folder: Path, options: tuple[object, ...], said: str) -> None:
    assert said in judged(folder, *options).misused()


def test_wrong_usage_of_the_other_commands() -> None:
    assert "invalid choice: 'L0'" in manage("selftest", "--level", "L0", "--json").misused()
    assert "-o/--output" in manage("recipe", "parameter_golf").misused()
    assert "environment" in manage("prepare", "--json").misused()


def test_the_highest_seed_is_taken(folder: Path) -> None:
    assert judged(folder, "--seed", 2**31 - 1).json["measurements"][0]["seed"] == 2**31 - 1


def test_a_recipe_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    new = tmp_path / "a" / "b"
    assert manage("recipe", "parameter_golf", "-o", new).status == 0
    assert {path.name: path.read_bytes() for path in new.iterdir()} == START
    said = manage("recipe", "parameter_golf", "-o", new).refused()
    assert said == f"{new / 'architecture.py'} exists, expected a folder without recipe files"
    file = tmp_path / "file"
    file.touch()
    assert "is not a folder" in manage("recipe", "parameter_golf", "-o", file).refused()
    assert f"{file} is not a folder" in manage("recipe", "parameter_golf", "-o", file / "c" / "d").refused()
    half = tmp_path / "half"
    half.mkdir()
    (half / "tokenizer.py").symlink_to(tmp_path / "outside.py")
    assert "tokenizer.py exists" in manage("recipe", "parameter_golf", "-o", half).refused()
    assert [path.name for path in half.iterdir()] == ["tokenizer.py"]
    assert not (tmp_path / "outside.py").exists()


def test_text_that_is_half_there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("a", "b"):
        (texts / f"{name}.txt").write_text(name * 200_000)
    monkeypatch.setenv("GOLF_TEXT_DIR", str(texts))
    expected = f"GOLF_TEXT_DIR: {texts} has 2 different documents, expected at least 3 (*.txt)"
    (folder / "loss.py").write_bytes(START["loss.py"])
    assert judged(folder).refused() == expected
    told = manage("prepare", "parameter_golf", "--json").json
    assert (told["ready"], told["missing"], told["looked_for"]) == (False, [expected], str(texts))
    monkeypatch.setenv("GOLF_TEXT_DIR", str(texts / "a.txt"))
    assert "is not a folder, expected one with *.txt documents" in judged(folder).refused()


def by_command(*arguments: object, **environment: str) -> Done:
    done = subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_same_from_a_shell(folder: Path) -> None:
    (folder / "helper.py").touch()
    said = by_command("evaluate", "parameter_golf", folder, "--json").refused()
    assert said.startswith(f"{folder}/helper.py{STRANGER}")
    for command in (("evaluate", "parameter_golf", folder), ("prepare", "parameter_golf")):
        said = by_command(*command, "--json", DATA_DIR="/proc/nothing").refused()
        assert said.startswith("DATA_DIR /proc/nothing is not writable (No such file or directory), expected a folder")
