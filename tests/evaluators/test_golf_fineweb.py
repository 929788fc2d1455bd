"""Golf at full size: shards and a SentencePiece model from a folder, seconds for a budget, one or several processes.

Run end to end on CPU tensors with tiny shards made of the packaged plays: the profiles are the real ones but for
device, seconds and sizes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece

from evaluators.contract import HarnessFault, Measurement, Profile
from evaluators.environments.parameter_golf import data, fineweb
from evaluators.harness import shelf
from evaluators.harness.text import DataError
from evaluators.preflight import check, read_recipe
from evaluators.sandbox import reach
from tests.evaluators import golf
from trials.vocab import VALID, Label

PROFILES = ("gpu", "paper")
START = read_recipe(golf.GOLF.spec, "gpu")
TINY = {
    "WIDTH: int = 512": "WIDTH: int = 32",
    "LAYERS: int = 7": "LAYERS: int = 1",
    "HEADS: int = 8": "HEADS: int = 2",
    "CONTEXT: int = 1024": "CONTEXT: int = 64",
    "BATCH: int = 512": "BATCH: int = 16",
    "WINDOWS_AT_ONCE: int = 32": "WINDOWS_AT_ONCE: int = 6",
    "TRAIN_SHARE: float = 0.97": "TRAIN_SHARE: float = 0.08",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training shards and a held-out one of plays, in the tokens of a model of 600 pieces."""
    place = tmp_path_factory.mktemp("fineweb")
    texts = [text.decode() for text in list(data.load().train.values())[:6]]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(texts).splitlines()),
        model_writer=written,
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.999,
        minloglevel=2,
    )
    (place / "plays.model").write_bytes(written.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    for name, chosen in (("train_000000", texts[:3]), ("train_000001", texts[3:5]), ("val_000000", texts[5:])):
        tokens = [token for text in chosen for token in (pieces.bos_id(), *pieces.encode(text[:60_000]))]
        shelf.write_shard(place / f"fineweb_{name}.bin", tokens)
    return place


@pytest.fixture
def ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    monkeypatch.setenv(fineweb.FOLDER, str(folder))
    yield golf.GOLF.prepare(golf.GOLF.spec.profiles["paper"])


def small(name: str, *, threads: int, **limits: float) -> Profile:
    """A full-size profile on CPU tensors, with seconds and texts that a test can wait for."""
    profile = golf.GOLF.spec.profiles[name]
    chosen = {"train_seconds": 25.0, "eval_seconds": 25.0, "memory_bytes": 8 << 30, **limits}
    sizes = {"scored_bytes": 20_000, "threads": threads, "scorer_threads": 1, "projection_seconds": 2.0}
    return replace(
        profile,
        device="cpu",
        limits=replace(profile.limits, **chosen),
        settings={**profile.settings, **sizes, "row_tokens": 256, "chunk_bytes": 4 << 20, "scratch_bytes": 64 << 20},
    )


def tiny(**more: str) -> dict[str, bytes]:
    text = START["hyperparameters.py"].decode()
    for old, new in {**TINY, **more}.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return {**START, "hyperparameters.py": text.encode()}


def measured(source: dict[str, bytes], profile: Profile) -> Measurement:
    return golf.GOLF.measure(source, profile=profile, seed=0, split="validation", level="L3", report=lambda _: None)


def test_the_starts_pass_preflight_and_keep_the_files_of_every_size() -> None:
    for name in PROFILES:
        source = read_recipe(golf.GOLF.spec, name)
        assert set(source) == set(golf.START)
        assert check(golf.GOLF.spec, source, parent=None, surface=()) is None
    assert START["loss.py"] == golf.START["loss.py"]
    assert START["recipe.py"] != golf.START["recipe.py"]


def test_prepared_shards_are_told_by_split(ready: dict[str, object], folder: Path) -> None:
    assert ready["ready"] is True, ready
    assert (ready["missing"], ready["vocabulary"], ready["looked_for"]) == ([], 600, str(folder))
    there = json.loads(json.dumps(ready["there"]))
    assert {name: (part["shards"], part["documents"]) for name, part in there.items()} == {
        "train": (1, 3),
        "validation": (1, 1),
        "sealed": (1, 2),
    }
    shards = fineweb.load()
    assert len({shards.train.sha256(), *(shards.part(split).sha256() for split in shards.held_out)}) == 3


def test_held_out_text_is_what_its_tokens_spell(ready: dict[str, object]) -> None:
    assert ready["ready"]
    (spelt,) = fineweb.load().texts("validation", 5_000)
    original = list(data.load().train.values())[5][:20_000].decode()
    assert len(spelt) == 5_000
    assert spelt.decode().split() == " ".join(original.split())[: len(spelt)].split()
    assert not spelt.startswith(b" ")
    assert [len(text) for text in fineweb.load().texts("sealed", 70_000)][1:] != [0]
    with pytest.raises(LookupError, match="split 'test' is unknown"):
        fineweb.load().part("test")


@pytest.mark.parametrize(("name", "threads"), [("gpu", 1), ("paper", 2)])
def test_a_full_size_profile_runs_end_to_end(ready: dict[str, object], name: str, threads: int) -> None:
    assert ready["ready"]
    profile = small(name, threads=threads)
    found = measured(tiny(), profile)
    assert (found.status, found.reason, found.excerpt) == ("ok", "", "")
    assert 0.8 < (found.score or 0.0) < 12  # seconds are the budget: how far it comes depends on the load
    assert found.numbers["largest_move"] == 0.0
    assert set(found.data_sha256) == {"train", "validation"}
    assert found.isolation["loopback"] is (name == "paper")
    assert (found.isolation["start"], found.train_units) == ("cold", None)
    assert 20_000 < (found.artifact_bytes or 0) < 60_000
    assert golf.GOLF.judge(found, profile).label == VALID


def test_training_beyond_its_seconds_is_an_overrun(ready: dict[str, object]) -> None:
    assert ready["ready"]
    late = tiny(**{"TRAIN_SHARE: float = 0.97": "TRAIN_SHARE: float = 4.0"})
    found = measured(late, small("gpu", threads=1, train_seconds=4.0))
    assert found.status == Label.TRAIN_BUDGET_OVERRUN, found.reason
    assert found.numbers["phase"] == "train"
    assert float(found.numbers["seconds_over"]) > 0


def test_a_projected_overflow_costs_no_training(ready: dict[str, object]) -> None:
    assert ready["ready"]
    profile = small("gpu", threads=1)
    capped = replace(profile, limits=replace(profile.limits, artifact_bytes=20_000))
    found = measured(tiny(), capped)
    assert found.status == Label.SIZE_BLOCKED
    assert "projected" in found.reason
    assert "train" not in found.seconds


def test_without_a_folder_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(fineweb.FOLDER, raising=False)
    found = golf.GOLF.prepare(golf.GOLF.spec.profiles["gpu"])
    assert found["ready"] is False
    assert found["looked_for"] == "the folder that GOLF_FINEWEB_DIR names (it is not set)"
    with pytest.raises(HarnessFault, match="GOLF_FINEWEB_DIR is not set"):
        measured(START, golf.GOLF.spec.profiles["gpu"])


def test_every_fault_of_a_folder_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fineweb.FOLDER, str(tmp_path))
    shelf.write_shard(tmp_path / "fineweb_train_000000.bin", [1, 2])
    found = golf.GOLF.prepare(golf.GOLF.spec.profiles["gpu"])
    faults = json.loads(json.dumps(found["missing"]))
    assert [fault.partition(":")[0].rpartition("/")[2] for fault in faults] == [
        "fineweb_train_*.bin",
        "fineweb_val_*.bin",
        "*.model",
    ]
    assert "1 found, expected at least two shards" in faults[0]
    assert "256 little-endian int32 (20240520, 1, count of tokens, zeros)" in faults[1]


def test_broken_shards_and_models_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.setenv(fineweb.FOLDER, str(tmp_path))
    (tmp_path / "fineweb_val_000000.bin").unlink()
    (tmp_path / "fineweb_val_000000.bin").write_bytes(b"half a header")
    found = golf.GOLF.prepare(golf.GOLF.spec.profiles["gpu"])
    assert json.loads(json.dumps(found["missing"]))[0].startswith(f"{tmp_path}/fineweb_val_000000.bin has 13 bytes")
    (tmp_path / "other.model").write_bytes(b"no model")
    with pytest.raises(DataError, match="2 found, expected the SentencePiece model"):
        fineweb.load()
    monkeypatch.setenv(fineweb.TOKENIZER, str(tmp_path / "other.model"))
    with pytest.raises(DataError, match=r"other.model cannot be read, expected a SentencePiece model"):
        fineweb.load()
    monkeypatch.setenv(fineweb.TOKENIZER, str(tmp_path / "none.model"))
    with pytest.raises(DataError, match=r"none.model is missing"):
        fineweb.load()


def test_the_walls_of_the_paper_profile_hold_a_loopback(ready: dict[str, object]) -> None:
    assert ready["ready"]
    assert reach("L3", loopback=True).loopback
