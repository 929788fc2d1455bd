"""FineWeb for the full-size profiles: shards of tokens and their SentencePiece model, from a folder of the operator's.

``GOLF_FINEWEB_DIR`` names the folder, in the layout in which the Parameter Golf challenge hands its data out
(<https://github.com/openai/parameter-golf>): ``fineweb_train_*.bin``, ``fineweb_val_*.bin`` and a ``*.model``, which
``GOLF_TOKENIZER`` may name elsewhere. The text that is scored is what the tokens of held-out shards spell.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluators.harness import pieces, shelf
from evaluators.harness.text import DataError, data_directory

FOLDER, TOKENIZER = "GOLF_FINEWEB_DIR", "GOLF_TOKENIZER"
PREPARE = "manage.py prepare parameter_golf --profile {}"
LEAST_TRAINED = 1

EXPECTED = {
    "fineweb_train_*.bin": f"at least two shards, the last of which is never trained on; each is {shelf.SHAPE}",
    "fineweb_val_*.bin": f"at least one shard, the first of which is scored; each is {shelf.SHAPE}",
    "*.model": "the SentencePiece model of these tokens, one file",
}


@dataclass(frozen=True)
class Files:
    """The files of the folder that are used, by their part."""

    train: tuple[Path, ...]
    validation: Path
    sealed: Path
    model: Path

    def shards(self) -> tuple[Path, ...]:
        return (*self.train, self.validation, self.sealed)


@dataclass(frozen=True)
class FineWeb:
    """Shards to train on, and one of each held-out split."""

    train: shelf.Shelf
    held_out: dict[str, shelf.Shelf]

    def sha256(self, split: str) -> dict[str, str]:
        """Hashes of what is trained on and of what is scored."""
        return {"train": self.train.sha256(), split: self.part(split).sha256()}

    def part(self, split: str) -> shelf.Shelf:
        """The shelf of a held-out split. Raises LookupError for an unknown one."""
        if split not in self.held_out:
            raise LookupError(f"split {split!r} is unknown, expected one of {', '.join(self.held_out)}")
        return self.held_out[split]

    def texts(self, split: str, most: int) -> tuple[bytes, ...]:
        """The first documents of a split, ``most`` bytes in all; the last is cut there."""
        found: list[bytes] = []
        left = most
        for text in self.part(split).library():
            if left <= 0:
                break
            if text:
                found.append(text[:left])
                left -= len(found[-1])
        return tuple(found)


def load() -> FineWeb:
    """The indexed shards. Raises DataError that names what is missing."""
    files = _files()
    spelling = pieces.spelling_of(files.model)
    folder = index_folder()
    prepare = PREPARE.format("gpu")

    def shelved(paths: Sequence[Path]) -> shelf.Shelf:
        shards = shelf.shards_of(paths, folder, prepare)
        return shelf.Shelf(shards, spelling.vocabulary, spelling.boundary, spelling.strip)

    held_out = {"validation": shelved([files.validation]), "sealed": shelved([files.sealed])}
    return FineWeb(shelved(files.train), held_out)


def prepare() -> dict[str, object]:
    """Check every file and index the shards; what is there, and each fault in one line."""
    found: dict[str, object] = {"looked_for": looked_for(), "kept_in": str(index_folder()), "expected": EXPECTED}
    try:
        files = _files()
        faults = [fault for path in files.shards() if (fault := _fault(path))]
        if faults:
            raise DataError(*faults)
        spelling = pieces.spelling_of(files.model)
        vocabulary = len(spelling.vocabulary)
        shelf.index(files.shards(), spelling.boundary, vocabulary, index_folder(), tell=_tell)
        ready = load()
    except DataError as error:
        return found | {"ready": False, "there": {}, "missing": [str(fault) for fault in error.args]}
    there = {"train": _told(ready.train)} | {split: _told(part) for split, part in ready.held_out.items()}
    return found | {"ready": True, "there": there, "vocabulary": vocabulary, "missing": []}


def looked_for() -> str:
    """Where the files are looked for."""
    folder = os.environ.get(FOLDER)
    return folder or f"the folder that {FOLDER} names (it is not set)"


def index_folder() -> Path:
    """Where it is kept which documents the shards hold."""
    return data_directory() / "parameter_golf" / "fineweb"


def _files() -> Files:
    """The files of the folder. Raises DataError with one argument for each fault."""
    name = os.environ.get(FOLDER)
    if not name:
        raise DataError(f"{FOLDER} is not set, expected a folder with {', '.join(EXPECTED)}")
    folder = Path(name).resolve()
    if not folder.is_dir():
        raise DataError(f"{FOLDER}: {folder} is not a folder, expected one with {', '.join(EXPECTED)}")
    train, held_out = (sorted(folder.glob(f"fineweb_{part}_*.bin")) for part in ("train", "val"))
    faults = []
    if len(train) < LEAST_TRAINED + 1:
        faults.append(f"{folder}/fineweb_train_*.bin: {len(train)} found, expected {EXPECTED['fineweb_train_*.bin']}")
    if not held_out:
        faults.append(f"{folder}/fineweb_val_*.bin: none found, expected {EXPECTED['fineweb_val_*.bin']}")
    model, fault = _model(folder)
    if fault:
        faults.append(fault)
    if faults or model is None:
        raise DataError(*faults)
    return Files(tuple(train[:-1]), held_out[0], train[-1], model)


def _model(folder: Path) -> tuple[Path | None, str]:
    """The SentencePiece model, or what is wrong."""
    named = os.environ.get(TOKENIZER)
    if named:
        path = Path(named).resolve()
        return (
            (path, "") if path.is_file() else (None, f"{TOKENIZER}: {path} is missing, expected {EXPECTED['*.model']}")
        )
    models = sorted(folder.glob("*.model"))
    if len(models) == 1:
        return models[0], ""
    return None, f"{folder}/*.model: {len(models)} found, expected {EXPECTED['*.model']} (or {TOKENIZER} to name it)"


def _fault(path: Path) -> str:
    try:
        shelf.check_shard(path)
    except DataError as error:
        return str(error)
    return ""


def _told(part: shelf.Shelf) -> dict[str, object]:
    return {
        "shards": len(part.shards),
        "tokens": sum(shard.tokens for shard in part.shards),
        "documents": sum(shard.documents for shard in part.shards),
        "sha256": part.sha256(),
    }


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
