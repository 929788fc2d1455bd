"""NanoChat-D12 at full size: parquet shards and an evaluation bundle from a folder, seconds for a budget.

Run end to end on CPU tensors with a tiny folder: the profiles are the real ones but for device, seconds and sizes.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from evaluators.contract import HarnessFault
from evaluators.environments import nanochat_d12
from evaluators.environments.nanochat_d12 import bundle, climbmix
from evaluators.harness.text import DataError
from evaluators.preflight import check, read_recipe
from tests.attacks import tiny as attacks_tiny
from tests.evaluators import climbmix_files as files
from tests.evaluators import core
from trials.vocab import VALID, Label

PROFILES = ("gpu", "paper")
START = read_recipe(core.CORE.spec, "gpu")
TINY = (
    ("architecture.py", "DEPTH: int = 12", "DEPTH: int = 1"),
    ("architecture.py", "WIDTH: int = 768", "WIDTH: int = 32"),
    ("architecture.py", "HEADS: int = 6", "HEADS: int = 2"),
    ("data.py", "CONTEXT: int = 2048", "CONTEXT: int = 64"),
    ("data.py", "BATCH: int = 256", "BATCH: int = 16"),
    ("systems.py", "PORTION: int = 16", "PORTION: int = 6"),
    ("systems.py", "WINDOW: int = 2048", "WINDOW: int = 64"),
)
FEW = ("schedule.py", "TOKENS_PER_PARAMETER: float = 12.0", "TOKENS_PER_PARAMETER: float = 0.3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tmp_path_factory.mktemp("nanochat")
    files.write(place)
    return place


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def ready(folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv(climbmix.FOLDER, str(folder))
    monkeypatch.setenv("DATA_DIR", str(kept))
    yield core.CORE.prepare(files.small("gpu"))


def tiny(*more: tuple[str, str, str]) -> dict[str, bytes]:
    return core.edited(*TINY, *more, source=START)


def test_the_starts_pass_preflight_and_keep_the_files_of_every_size() -> None:
    for name in PROFILES:
        source = read_recipe(core.CORE.spec, name)
        assert set(source) == set(core.START)
        assert check(core.CORE.spec, source, parent=None, surface=()) is None
    assert START["recipe.py"] != core.START["recipe.py"]


def test_the_paper_has_eight_devices_and_ninety_minutes_and_the_start_twelve_blocks() -> None:
    paper = core.CORE.spec.profiles["paper"]
    assert (paper.devices, paper.device, paper.limits.train_seconds, paper.limits.wallclock) == (
        8,
        "cuda",
        5400.0,
        True,
    )
    assert b"DEPTH: int = 12" in START["architecture.py"]


def test_a_prepared_folder_is_told_by_split(ready: dict[str, Any], folder: Path) -> None:
    assert ready["ready"] is True, ready
    assert (ready["missing"], ready["vocabulary"], ready["looked_for"]) == ([], 500, str(folder))
    there = json.loads(json.dumps(ready["there"]))
    assert (there["train"]["shards"], there["train"]["documents"]) == (3, 5)
    for split in ("validation", "sealed"):
        assert there[split]["questions"] == {"colours": 8, "who": 8, "again": 8}
        assert there[split]["bytes"] == 6_000
    assert there["validation"]["questions_sha256"] != there["sealed"]["questions_sha256"]


def test_shards_are_written_once(ready: dict[str, Any], kept: Path) -> None:
    assert ready["ready"]
    places = sorted((kept / "nanochat_d12/climbmix").iterdir())
    before = {path: path.stat().st_mtime_ns for path in places}
    assert core.CORE.prepare(files.small("paper"))["ready"] is True
    assert {path: path.stat().st_mtime_ns for path in sorted((kept / "nanochat_d12/climbmix").iterdir())} == before


def test_tokens_spell_the_training_texts(ready: dict[str, Any], folder: Path) -> None:
    assert ready["ready"]
    shards = sorted((folder / "base_data_climbmix").iterdir())[:-1]
    texts = [text.encode() for path in shards for texts in climbmix.documents(path) for text in texts]
    assert list(climbmix.load(files.small("gpu"), "validation").train.library()) == texts


def test_held_out_texts_are_of_the_last_shard_and_of_one_split(ready: dict[str, Any], folder: Path) -> None:
    assert ready["ready"]
    last = sorted((folder / "base_data_climbmix").iterdir())[-1]
    whole = [text.encode() for texts in climbmix.documents(last) for text in texts]
    parts = [climbmix.held_out_texts(last, split, 1 << 30) for split in climbmix.SPLITS]
    assert sorted((*parts[0], *parts[1])) == sorted(whole)
    assert set(parts[0]) & set(parts[1]) == set()
    cut = climbmix.held_out_texts(last, "validation", 4_000)
    assert (sum(map(len, cut)), b"".join(parts[0]).startswith(b"".join(cut))) == (4_000, True)
    with pytest.raises(LookupError, match="split 'test' is unknown"):
        climbmix.load(files.small("gpu"), "test")


@pytest.mark.parametrize(("name", "threads"), [("gpu", 1), ("paper", 2)])
def test_a_full_size_profile_runs_end_to_end(ready: dict[str, Any], name: str, threads: int) -> None:
    assert ready["ready"]
    profile = files.small(name, threads=threads, train_seconds=60.0)
    found = files.measured(tiny(FEW), profile)
    assert (found.status, found.reason, found.excerpt) == ("ok", "", "")
    outcome = core.CORE.judge(found, profile)
    assert outcome.label == VALID
    assert outcome.score is not None
    assert -0.6 < outcome.score < 0.5
    assert set(found.secondary) == {"val_bpb", "core_per_token", "colours", "who", "again"}
    assert 3.0 < found.secondary["val_bpb"] < 9.0
    assert 0.0 < float(outcome.numbers["budget_used"]) < 1.0
    assert float(outcome.numbers["largest_move"]) < 1e-4
    assert "correct_colours" in found.numbers and "correct_colours" not in outcome.numbers
    assert set(found.data_sha256) == {"train", "validation", "validation items"}
    assert (found.isolation["start"], found.isolation["loopback"]) == ("cold", name == "paper")
    assert (found.train_units, found.eval_units) == (None, None)
    assert int(found.numbers["projected_bytes"]) == found.artifact_bytes


def test_training_beyond_its_seconds_is_an_overrun(ready: dict[str, Any]) -> None:
    assert ready["ready"]
    late = tiny(
        ("schedule.py", "TRAIN_SHARE: float = 0.95", "TRAIN_SHARE: float = 9.0"),
        ("schedule.py", "TOKENS_PER_PARAMETER: float = 12.0", "TOKENS_PER_PARAMETER: float = 1e6"),
    )
    found = files.measured(late, files.small("gpu", train_seconds=2.0, artifact_bytes=None))
    assert found.status == Label.TRAIN_BUDGET_OVERRUN, found.reason
    assert found.numbers["phase"] == "train"
    assert float(found.numbers["seconds_over"]) > 0


def test_an_artifact_that_would_not_be_read_costs_no_training(ready: dict[str, Any]) -> None:
    assert ready["ready"]
    found = files.measured(tiny(FEW), files.small("gpu", artifact_bytes=40_000))
    assert found.status == Label.SIZE_BLOCKED
    assert "projected" in found.reason
    assert "train" not in found.seconds


# The figure, from logits that are known: a table of pairs of bytes, so that a token is a byte.

MAKE = "np.random.default_rng(5).normal(0.0, 3.0, (256, 256)).astype('<f4')"
#: Behind every word comes a space, and behind a space a rose.
ROSE = ((b" ", b"r"), (b"r", b"o"), (b"o", b"s"), (b"s", b"e"), *((bytes([each]), b" ") for each in b"egndlp"))
TABLE = np.random.default_rng(5).normal(0.0, 3.0, (256, 256)).astype("<f4")
for _before, _behind in ROSE:
    TABLE[_before[0], _behind[0]] = 20.0
KNOWING = attacks_tiny.LANGUAGE_MODEL.replace("artifact, np.uint8", "artifact, '<f4'").replace(" / -16", "")
TRAINED = {
    "trained": f"table = {MAKE}\nfor before, behind in {ROSE}: table[before[0], behind[0]] = 20.0\n"
    "artifact = table.tobytes()"
}


def nats(text: bytes, first: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Log-probabilities of the bytes of a text from ``first`` on."""
    rows = TABLE[np.frombuffer(text, np.uint8)[first - 1 : -1]].astype(float)
    own = rows[np.arange(len(rows)), np.frombuffer(text, np.uint8)[first:]]
    return np.asarray(own - np.log(np.exp(rows).sum(1)))


def by_the_book(told: Mapping[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Accuracies as nanochat has them, on whole prompts: means from the space in front of what is judged."""
    accuracies = {}
    for label, (kind, shots, _, delimiter) in files.TASKS.items():
        examples = bundle.part_of(told[label], "validation", files.ITEMS)
        between, right = " " if delimiter is None else delimiter, 0.0
        for number, one in enumerate(examples):
            drawn = random.Random(1234 + number).sample([i for i in range(len(examples)) if i != number], shots)
            shown = "".join(f"{worked(kind, examples[i], between)}\n\n" for i in drawn)
            if kind == bundle.CHOICE:
                asked = f"{shown}{one['query']}{between}".encode()
                means = [nats(asked + each.encode(), len(asked) - 1).mean() for each in one["choices"]]
                right += int(np.argmax(means)) == one["gold"]
            elif kind == bundle.SCHEMA:
                end = f"{between}{one['continuation']}".encode()
                fronts = [f"{shown}{each}".encode() for each in one["context_options"]]
                means = [nats(front + end, len(front)).mean() for front in fronts]
                right += int(np.argmax(means)) == one["gold"]
            else:
                front = f"{shown}{one['context'].strip()}".encode()
                text = np.frombuffer(front + f"{between}{one['continuation']}".encode(), np.uint8)
                likeliest = TABLE[text[len(front) - 1 : -1]].argmax(1)
                right += bool((likeliest == text[len(front) :]).all())
        accuracies[label] = right / len(examples)
    return accuracies


def worked(kind: str, one: Mapping[str, Any], between: str) -> str:
    if kind == bundle.CHOICE:
        return f"{one['query']}{between}{one['choices'][one['gold']]}"
    if kind == bundle.SCHEMA:
        return f"{one['context_options'][one['gold']]}{between}{one['continuation']}"
    return f"{one['context'].strip()}{between}{one['continuation']}"


def test_the_figure_is_what_the_logits_say(ready: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert ready["ready"]
    monkeypatch.setattr(nanochat_d12, "reach", attacks_tiny.warm)
    arena = attacks_tiny.Arena(core.CORE, KNOWING, files.small("gpu", artifact_bytes=None))
    found, outcome = arena.measured(TRAINED)
    assert (outcome.label, outcome.reason) == (VALID, ""), found.excerpt
    expected = by_the_book(files.examples())
    assert {label: found.secondary[label] for label in expected} == expected
    assert all(0.0 < accuracy < 1.0 for accuracy in expected.values()), expected
    colours, who, again = expected.values()
    core_score = ((colours - 0.25) / 0.75 + (who - 0.5) / 0.5 + again) / 3
    assert outcome.score == pytest.approx(core_score, abs=1e-12)
    assert found.secondary["core_per_token"] == pytest.approx(core_score, abs=1e-12)  # a token is a byte
    texts = climbmix.load(files.small("gpu"), "validation").texts
    rows = [text[at : at + 128] for text in texts for at in range(0, len(text), 128)]
    bits = -sum(float(nats(b" " + row, 1).sum()) for row in rows) / math.log(2) / sum(map(len, texts))
    assert found.secondary["val_bpb"] == pytest.approx(bits, rel=1e-6)


def test_the_sealed_split_is_measured_on_other_questions(
    ready: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ready["ready"]
    monkeypatch.setattr(nanochat_d12, "reach", attacks_tiny.warm)
    arena = attacks_tiny.Arena(core.CORE, KNOWING, files.small("gpu", artifact_bytes=None))
    found = files.measured(arena.recipe(TRAINED), arena.profile, "sealed")
    assert (found.status, set(found.data_sha256)) == ("ok", {"train", "sealed", "sealed items"})
    assert found.data_sha256["sealed items"] == ready["there"]["sealed"]["questions_sha256"]


# Faults of the folder.


def test_without_a_folder_the_variable_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(climbmix.FOLDER, raising=False)
    found = core.CORE.prepare(core.CORE.spec.profiles["gpu"])
    assert found["ready"] is False
    assert found["looked_for"] == "the folder that NANOCHAT_BASE_DIR names (it is not set)"
    with pytest.raises(HarnessFault, match="NANOCHAT_BASE_DIR is not set"):
        files.measured(START, core.CORE.spec.profiles["gpu"])
    monkeypatch.setenv(climbmix.FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(HarnessFault, match="nowhere is not a folder, expected one with base_data_climbmix"):
        files.measured(START, core.CORE.spec.profiles["gpu"])


def test_half_a_folder_gives_a_line_for_each_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(climbmix.FOLDER, str(tmp_path))
    found = core.CORE.prepare(files.small("gpu"))
    faults = json.loads(json.dumps(found["missing"]))
    assert [fault.partition(" ")[0].rpartition("/")[2] for fault in faults] == [
        "shard_*.parquet:",
        "core.yaml",
        "eval_meta_data.csv",
    ]
    assert "0 found, expected at least two, the last of which is never trained on" in faults[0]


def test_broken_shards_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(climbmix.FOLDER, str(tmp_path))
    (tmp_path / "eval_bundle").symlink_to(folder / "eval_bundle")
    shards = tmp_path / "base_data_climbmix"
    shards.mkdir()
    whole = (folder / "base_data_climbmix/shard_00000.parquet").read_bytes()
    (shards / "shard_00000.parquet").write_bytes(whole[: len(whole) // 2])
    parquet.write_table(pyarrow.table({"text": [1, 2]}), shards / "shard_00001.parquet")
    parquet.write_table(pyarrow.table({"body": ["a"]}), shards / "shard_00002.parquet")
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), shards / "shard_00003.parquet")
    (shards / "shard_00004.parquet").write_bytes(b"")
    faults = json.loads(json.dumps(core.CORE.prepare(files.small("gpu"))["missing"]))
    assert [fault.partition(" ")[0] for fault in faults] == [str(shards / f"shard_0000{i}.parquet") for i in range(5)]
    told = ("cannot be read", "columns text of int64", "columns body of string", "no row", "cannot be read")
    for fault, what in zip(faults, told, strict=True):
        assert what in fault
        assert "expected parquet with a column text of strings, one document a row" in fault
        assert "\n" not in fault


def test_a_folder_that_was_not_prepared_or_has_changed_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    place = tmp_path / "base"
    (place / "base_data_climbmix").mkdir(parents=True)
    (place / "eval_bundle").symlink_to(folder / "eval_bundle")
    for path in (folder / "base_data_climbmix").iterdir():
        (place / "base_data_climbmix" / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv(climbmix.FOLDER, str(place))
    profile = files.small("gpu")
    with pytest.raises(HarnessFault, match=r"no tokens of these files: run manage.py prepare nanochat_d12 --profile"):
        files.measured(START, profile)
    assert core.CORE.prepare(profile)["ready"] is True
    changed = place / "base_data_climbmix/shard_00001.parquet"
    files.write_shard(changed, ["Another text, and a longer one. " * 40] * 3)
    with pytest.raises(HarnessFault, match=r"shard_00001.parquet is not written in tokens yet, or has changed since"):
        files.measured(START, profile)
    assert core.CORE.prepare(profile)["ready"] is True
    assert sum(shard.documents for shard in climbmix.load(profile, "validation").train.shards) == 6


def test_a_tokenizer_that_the_text_does_not_yield_is_told(
    ready: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ready["ready"]
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    found = core.CORE.prepare(files.small("gpu", settings={"tokenizer_bytes": 100, "vocabulary": 60_000}))
    (fault,) = json.loads(json.dumps(found["missing"]))
    assert "no tokenizer of 60000 tokens comes of these texts" in fault
    with pytest.raises(DataError, match=r"none.parquet cannot be read"):
        climbmix.held_out_texts(tmp_path / "none.parquet", "validation", 10)
