"""Golf's text: what the packages give, another folder in their place, clear errors; and the pure judge."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import pytest

from evaluators.contract import Measurement
from evaluators.environments.parameter_golf import ParameterGolf, data
from trials.vocab import VALID, Label

GOLF = ParameterGolf()
CPU = GOLF.spec.profiles["cpu"]
GOOD = Measurement(
    "ok", "", 0, "validation", score=2.5, code_bytes=7_000, payload_bytes=266_000, train_units=1, eval_units=1
)


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "var"))
    monkeypatch.delenv("GOLF_TEXT_DIR", raising=False)


def documents(folder: Path, count: int, size: int) -> Path:
    folder.mkdir()
    for number in range(count):
        draw = random.Random(number)
        words = " ".join("".join(draw.choices("etaoin", k=draw.randrange(2, 8))) for _ in range(size // 5))
        (folder / f"{number:03}.txt").write_text(words[:size], encoding="ascii")
    return folder


def test_the_packaged_text_is_what_was_recorded_and_is_kept_under_the_data_directory(tmp_path: Path) -> None:
    corpus = data.load()
    assert corpus.sha256 == data.EXPECTED
    assert sorted(corpus.validation) == ["Job", "macbeth"]
    assert sorted(corpus.sealed) == ["Ecclesiastes", "James", "Ruth", "twelfth_night"]
    assert not {*corpus.validation, *corpus.sealed} & set(corpus.train)
    assert not any(name.endswith("_f") for name in corpus.train)
    assert [len(text) for text in corpus.excerpts("validation")] == [24_576, 24_576]
    kept = list((tmp_path / "var" / "parameter_golf").iterdir())
    assert len(kept) == 1
    kept[0].write_bytes(b"damaged")
    data._packaged.cache_clear()
    assert data.load().sha256 == data.EXPECTED
    there = GOLF.prepare(CPU)["there"]
    assert isinstance(there, dict)
    assert {split: found["sha256"] for split, found in there.items()} == data.EXPECTED


def test_held_out_text_is_not_in_the_training_text() -> None:
    corpus = data.load()
    assert data.overlap(corpus, "validation") < 0.002
    leaky = replace(corpus, train={**corpus.train, "copy": corpus.validation["macbeth"]})
    assert data.overlap(leaky, "validation") > 0.45


def test_a_folder_takes_the_place_of_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = documents(tmp_path / "texts", 12, 40_000)
    (folder / "long.txt").write_bytes((folder / "001.txt").read_bytes() * 5)
    (folder / "001.txt").unlink()
    (folder / "notes.md").write_text("not a document")
    monkeypatch.setenv("GOLF_TEXT_DIR", str(folder))
    corpus = data.load()
    by_hash = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.txt"))
    largest = max(folder.glob("*.txt"), key=lambda path: path.stat().st_size)
    by_hash.remove(hashlib.sha256(largest.read_bytes()).hexdigest())
    held_out = [*corpus.validation, *corpus.sealed]
    assert held_out == by_hash[: len(held_out)]
    assert len(corpus.train) == 12 - len(held_out) and largest.read_bytes() in corpus.train.values()
    (folder / "copy.txt").write_bytes((folder / "000.txt").read_bytes())
    again = data.load()
    assert again.sha256 == corpus.sha256
    report = GOLF.prepare(CPU)
    assert report["ready"] is True and report["looked_for"] == str(folder)


@pytest.mark.parametrize(
    ("count", "size", "words"), [(2, 300_000, "at least 3"), (8, 1_000, "bytes for"), (0, 0, "at least 3")]
)
def test_too_little_text_says_what_was_expected(
    count: int, size: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = documents(tmp_path / "texts", count, size)
    monkeypatch.setenv("GOLF_TEXT_DIR", str(folder))
    with pytest.raises(data.DataError, match=words):
        data.load()
    report = GOLF.prepare(CPU)
    assert report["ready"] is False and str(folder) in str(report["missing"])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLF_TEXT_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(data.DataError, match="nowhere is not a folder"):
        data.load()


def test_a_good_measurement_is_valid_exactly_up_to_the_cap() -> None:
    assert GOLF.judge(GOOD, CPU).label == VALID
    assert GOLF.judge(GOOD, CPU).score == 2.5
    over = GOLF.judge(replace(GOOD, payload_bytes=266_001), CPU)
    assert (over.label, over.score, over.numbers) == (Label.SIZE_BLOCKED, None, {"bytes_over": 1})


@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), 0.0, -0.0, 1e-320, 1.1])
def test_impossible_scores_are_invalid(score: float | None) -> None:
    outcome = GOLF.judge(replace(GOOD, score=score), CPU)
    assert (outcome.label, outcome.score) == (Label.INVALID_RESULT, None)


def test_units_are_judged_with_their_tolerance() -> None:
    budget = CPU.limits.train_units
    assert GOLF.judge(replace(GOOD, train_units=int(budget * 1.05)), CPU).label == VALID
    outcome = GOLF.judge(replace(GOOD, train_units=int(budget * 1.06)), CPU)
    assert outcome.label == Label.TRAIN_BUDGET_OVERRUN
    assert outcome.numbers["units_over"] == int(budget * 1.06) - budget
    assert GOLF.judge(replace(GOOD, eval_units=10**13), CPU).label == Label.EVAL_BUDGET_OVERRUN


def test_a_failure_keeps_its_label_and_an_unknown_status_is_an_error() -> None:
    outcome = GOLF.judge(replace(GOOD, status="crash", reason="memory", numbers={"phase": "train"}), CPU)
    assert (outcome.label, outcome.reason, outcome.score) == (Label.CRASH, "memory", None)
    with pytest.raises(ValueError, match="harness_abort"):
        GOLF.judge(replace(GOOD, status="harness_abort"), CPU)
