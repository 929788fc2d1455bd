"""The TOML of a script: what is read from it, and the one line that a bad one gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from evaluators.environments.script import reading
from evaluators.environments.script.definition import DefinitionError, load, load_all
from evaluators.environments.script.run import prepared
from evaluators.registry import register_scripts
from trials.vocab import Direction

GOOD = """
name = "toy"
title = "Toy"
score_name = "loss"
score_unit = "nats"
direction = "lower"
folder = "."
files = ["sub/train.py"]

[patterns]
score = 'loss: (?P<value>.+)'

[profiles.cpu]
command = ["{python}", "sub/train.py", "{seed}"]
wall_seconds = 5
cpu_seconds = 4.5
memory_bytes = 1000
"""


def written(folder: Path, text: str) -> Path:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "train.py").write_text("print('loss: 1')\n")
    (folder / "toy.toml").write_text(text)
    return folder / "toy.toml"


def test_the_smallest_file_is_read_whole_and_frozen_whole(tmp_path: Path) -> None:
    found = load(written(tmp_path, GOOD))
    spec, run = found.spec, found.runs["cpu"]
    assert (spec.name, spec.direction, spec.files, spec.joins) == ("toy", Direction.LOWER, ("sub/train.py",), ())
    assert (spec.recipe_dir, spec.score_source) == (tmp_path, "log")
    limits = spec.profiles["cpu"].limits
    assert (limits.train_seconds, limits.memory_bytes, limits.artifact_bytes) == (5.0, 1000, None)
    assert (run.cpu_seconds, run.gate_minimum, run.readonly) == (4.5, None, ())
    filled = prepared(run, 12)["command"]
    assert isinstance(filled, list) and filled[1:] == ["sub/train.py", "12"] and Path(filled[0]).is_absolute()
    frozen = json.loads(json.dumps(spec.as_json("cpu")))
    assert frozen["score_source"] == "log"
    assert frozen["profile"]["settings"]["command"] == ["{python}", "sub/train.py", "{seed}"]
    assert frozen["profile"]["settings"]["patterns"]["score"] == "loss: (?P<value>.+)"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "toy"\n', "", "name: it is missing, expected a text of 1 to 60 characters"),
        ('name = "toy"', 'name = "Toy!"', "name: it is 'Toy!', expected small letters, digits and underscores"),
        ('title = "Toy"', "title = 3", "title: it is '3', expected a text of 1 to 100 characters"),
        ('"lower"', '"down"', "direction: it is 'down', expected lower or higher"),
        ("[patterns]", 'colour = "red"\n[patterns]', "colour: it is unknown, expected one of patterns, profiles, name"),
        ('["sub/train.py"]', "[]", "files: it is '[]', expected a list of file names that may be changed"),
        ('["sub/train.py"]', '["../up.py"]', "files: it has '../up.py', expected names below the folder"),
        ('["sub/train.py"]', '["/etc/passwd"]', "files: it has '/etc/passwd', expected names below"),
        ('["sub/train.py"]', '["./sub/train.py"]', "files: it has './sub/train.py', expected names below"),
        ('["sub/train.py"]', '["gone.py"]', "gone.py is missing, expected the recipe's"),
        ('folder = "."', 'folder = "nowhere"', "nowhere is missing, expected a folder"),
        ("[patterns]", 'joins = ["sub/train.py"]\n[patterns]', "files: it has 'sub/train.py', expected names below"),
        ("(?P<value>.+)", "(.+)", "patterns.score: its named groups are [], expected the one group (?P<value>...)"),
        ("(?P<value>.+)", "(?P<value>.+", "patterns.score: it does not compile"),
        ("[profiles.cpu]", "other = 'x'\n[profiles.cpu]", "patterns.other: it is unknown, expected one of score, size"),
        ("[profiles.cpu]", "[other.cpu]", "profiles: it is missing, expected at least one table [profiles.NAME]"),
        ("[profiles.cpu]", f"[profiles.{'x' * 21}]", "the name is too long, expected at most 20 characters"),
        ('"{python}", ', '"torchrun", ', "profiles.cpu.command: it begins with 'torchrun', expected {python} or an"),
        ('"{seed}"', '"{speed}"', "profiles.cpu.command: it has {speed}, expected {python} or {seed}"),
        ("wall_seconds = 5", "wall_seconds = 0", "profiles.cpu.wall_seconds: it is '0', expected a number above 0"),
        ("wall_seconds = 5", "wall_seconds = nan", "profiles.cpu.wall_seconds: it is 'nan', expected a number above 0"),
        ("wall_seconds = 5", "wall_seconds = true", "profiles.cpu.wall_seconds: it is 'True', expected a number"),
        ("= 1000", "= 1.5", "profiles.cpu.memory_bytes: it is '1.5', expected a whole number above 0"),
        ("= 1000", "= 1000\nartifact_bytes = 9", "profiles.cpu.artifact_bytes: there is no patterns.size, expected a"),
        ("= 1000", "= 1000\ngate_minimum = 9", "profiles.cpu.gate_minimum: there is no patterns.gate, expected a"),
        ("= 1000", '= 1000\nreadonly = ["data"]', "profiles.cpu.readonly: it is ['data'], expected absolute paths"),
        ("= 1000", "= 1000\nenv = { A = 1 }", "profiles.cpu.env: it is \"{'A': 1}\", expected a table of texts"),
        ("= 1000", "= 1000\ngpu = 1", "profiles.cpu.gpu: it is unknown, expected one of"),
        ('name = "toy"', "name = toy", "it cannot be read: Invalid value"),
    ],
)
def test_a_bad_file_is_told_with_key_and_expectation(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    file = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(DefinitionError, match=re.escape(message)) as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


def test_the_files_in_the_documentation_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "environments.md").read_text()
    block, torchrun = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "modded-nanogpt" / "data").mkdir(parents=True)
    for name in ("train_gpt.py", "data/layout.json"):
        (tmp_path / "modded-nanogpt" / name).write_text("0\n")
    (tmp_path / "doc.toml").write_text(block)
    found = load(tmp_path / "doc.toml")
    assert found.runs["cpu"].gate_minimum == 0.96
    (tmp_path / "ddp_line").symlink_to(Path(__file__).resolve().parent / "scripts/ddp_line")
    (tmp_path / "torchrun.toml").write_text(torchrun)
    small = load(tmp_path / "torchrun.toml").runs["cpu"]
    assert (small.loopback, small.processes, small.env) == (True, 128, {})
    line = ["step:1750/1750 val_loss:3.2796 train_time:1.5s"]
    assert reading.last(found.patterns.score, line) == "3.2796"
    assert reading.last(found.patterns.seconds, line) == "1.5"


def test_folders_are_read_in_order_and_must_exist(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    assert [found.spec.name for found in load_all(f":{tmp_path}:")] == ["toy"]
    assert load_all("") == []
    with pytest.raises(DefinitionError, match="is not a folder, expected folders that hold"):
        load_all(f"{tmp_path}/none")


def test_a_name_that_is_taken_is_refused_with_its_file(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD.replace('"toy"', '"parameter_golf"'))
    with pytest.raises(
        ImproperlyConfigured, match=f"{file}: name: the name 'parameter_golf' is taken, expected none of"
    ):
        register_scripts(str(tmp_path))


def test_the_last_match_of_the_last_line_counts_and_long_lines_are_searched_in_part() -> None:
    pattern = r"loss=(?P<value>\S+)"
    assert reading.last(pattern, ["loss=1 loss=2", "nothing"]) == "2"
    assert reading.last(pattern, ["x" * 2000 + " loss=1"]) is None
    assert reading.last(pattern, []) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("16", 16), ("15,912,345", 15_912_345), ("0", 0), ("-1", None), ("1.5", None), ("", None), ("9" * 30, None)],
)
def test_sizes_are_whole_bytes(text: str, value: int | None) -> None:
    assert reading.whole(text) == value


def test_lines_before_a_cut_and_the_line_at_it_do_not_count() -> None:
    log = b"loss=1\n" + b"." * 60 + b"loss=2\nloss=3\n"
    assert reading.lines_of(log, 200)[0] == "loss=1"
    assert reading.lines_of(log, 40) == ["loss=3"]


def test_the_last_traceback_is_told_without_control_characters() -> None:
    lines = [
        "Traceback (most recent call last):",
        "A",
        "Traceback (most recent call last):",
        '  File "x"',
        "B: \x1b[1m",
    ]
    assert reading.excerpt(lines) == ("B: ?[1m", 'Traceback (most recent call last):\n  File "x"\nB: ?[1m')
    assert reading.excerpt(["one", "", "two"]) == ("", "one\ntwo")
