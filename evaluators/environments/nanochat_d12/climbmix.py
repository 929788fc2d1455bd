"""ClimbMix text and the CORE bundle for the full-size profiles, from the folder that ``NANOCHAT_BASE_DIR`` names.

The layout is nanochat's own (<https://github.com/karpathy/nanochat>): ``base_data_climbmix/shard_*.parquet`` with a
column ``text``, the last of which is held out, and ``eval_bundle/``. Its ``tokenizer/`` is a pickle and not read:
``prepare`` learns a tokenizer from the training text and writes that text in its tokens, once. Sandboxes see these
shards and no parquet.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from evaluators.child.frames import pack_texts
from evaluators.contract import Profile
from evaluators.environments.nanochat_d12 import bundle
from evaluators.environments.nanochat_d12.bundle import Bundle
from evaluators.harness import pieces, shelf
from evaluators.harness.text import DataError, data_directory

FOLDER, SHARDS, COLUMN = "NANOCHAT_BASE_DIR", "base_data_climbmix", "text"
PREPARE = "manage.py prepare nanochat_d12 --profile {}"
MODEL, MADE = "tokens.model", "made.json"
SHAPE = f"parquet with a column {COLUMN} of strings, one document a row"
EXPECTED = {
    f"{SHARDS}/shard_*.parquet": f"at least two, the last of which is never trained on; each is {SHAPE}",
    **bundle.EXPECTED,
}
SPLITS = ("validation", "sealed")


@dataclass(frozen=True)
class ClimbMix:
    """What a measurement reads. texts: of the split, for bits per byte."""

    train: shelf.Shelf
    bundle: Bundle
    texts: tuple[bytes, ...]

    def sha256(self) -> str:
        """Hash of the texts."""
        return sha256(pack_texts(self.texts)).hexdigest()


def load(profile: Profile, split: str) -> ClimbMix:
    """Raises DataError that names what is missing, LookupError for an unknown split."""
    if split not in SPLITS:
        raise LookupError(f"split {split!r} is unknown, expected one of {', '.join(SPLITS)}")
    folder = _folder()
    *train, held_out = _shards(folder)
    tasks = bundle.load(folder / bundle.FOLDER, _number(profile, "items"))
    return ClimbMix(_shelf(train, profile), tasks, held_out_texts(held_out, split, _number(profile, "scored_bytes")))


def prepare(profile: Profile) -> dict[str, object]:
    """Check every file, learn the tokenizer and write the shards; what is there, and each fault in one line."""
    found: dict[str, object] = {"looked_for": looked_for(), "kept_in": str(kept_in()), "expected": EXPECTED}
    try:
        folder = _folder()
        faults = _faults(folder, _number(profile, "items"))
        if faults:
            raise DataError(*faults)
        train = _shards(folder)[:-1]
        _write_tokens(train, profile)
        ready = {split: load(profile, split) for split in SPLITS}
    except DataError as error:
        return found | {"ready": False, "there": {}, "missing": [str(fault) for fault in error.args]}
    text = ready["validation"].train
    there = {
        "train": {
            "shards": len(text.shards),
            "tokens": sum(shard.tokens for shard in text.shards),
            "documents": sum(shard.documents for shard in text.shards),
            "sha256": text.sha256(),
        }
    } | {split: _told(part, split, _number(profile, "items")) for split, part in ready.items()}
    return found | {"ready": True, "there": there, "vocabulary": len(text.vocabulary), "missing": []}


def looked_for() -> str:
    """Where the files are looked for."""
    return os.environ.get(FOLDER) or f"the folder that {FOLDER} names (it is not set)"


def kept_in() -> Path:
    """Where the tokenizer and the shards of tokens are kept."""
    return data_directory() / "nanochat_d12" / "climbmix"


def held_out_texts(path: Path, split: str, most: int) -> tuple[bytes, ...]:
    """The first documents of a split, ``most`` bytes in all, the last cut there. Raises DataError.

    A document's hash says to which split it belongs, so that a split has no document of the other one.
    """
    wanted = SPLITS.index(split)
    found: dict[bytes, None] = {}
    left = most
    for texts in documents(path):
        for text in map(str.encode, texts):
            if left > 0 and text not in found and sha256(text).digest()[0] % 2 == wanted:
                found[text[:left]] = None
                left -= min(left, len(text))
        if left <= 0:
            break
    if not found:
        raise DataError(f"{path}: no document is left for {split}, expected some for each held-out split")
    return tuple(found)


def documents(path: Path) -> Iterator[list[str]]:
    """The texts of a file, one group of rows after the other; empty ones are left out. Raises DataError."""
    try:
        with parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield [text for text in file.read_row_group(group, columns=[COLUMN]).column(0).to_pylist() if text]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({_line(error)}), expected {SHAPE}") from error


def _folder() -> Path:
    """Raises DataError."""
    name = os.environ.get(FOLDER)
    if not name:
        raise DataError(f"{FOLDER} is not set, expected a folder with {', '.join(EXPECTED)}")
    folder = Path(name).resolve()
    if not folder.is_dir():
        raise DataError(f"{FOLDER}: {folder} is not a folder, expected one with {', '.join(EXPECTED)}")
    return folder


def _shards(folder: Path) -> list[Path]:
    """The parquet files in order. Raises DataError."""
    place, pattern = folder / SHARDS, "shard_*.parquet"
    found = sorted(place.glob(pattern))
    if len(found) < 2:
        raise DataError(f"{place / pattern}: {len(found)} found, expected {EXPECTED[f'{SHARDS}/{pattern}']}")
    return found


def _faults(folder: Path, items: int) -> list[str]:
    """One line for each file that is missing, cut short or of a wrong shape."""
    faults: list[str] = []
    try:
        faults += [fault for path in _shards(folder) if (fault := _fault(path))]
    except DataError as error:
        faults += error.args
    try:
        bundle.load(folder / bundle.FOLDER, items)
    except DataError as error:
        faults += error.args
    return faults


def _fault(path: Path) -> str:
    """What a look at the end of a file, where parquet keeps its table of contents, tells."""
    try:
        with parquet.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        return f"{path} cannot be read ({_line(error)}), expected {SHAPE}"
    if COLUMN not in schema.names or schema.field(COLUMN).type not in (pyarrow.string(), pyarrow.large_string()):
        told = ", ".join(f"{field.name} of {field.type}" for field in schema)
        return f"{path} has the columns {told[:200]}, expected {SHAPE}"
    return "" if rows else f"{path} has no row, expected {SHAPE}"


def _write_tokens(train: Sequence[Path], profile: Profile) -> None:
    """Learn the tokenizer and write each file in its tokens, but for what was made of the same before. DataError."""
    folder = kept_in()
    folder.mkdir(parents=True, exist_ok=True)
    made = _made(folder)
    learnt = _learnt_from(train, profile)
    if made.get("model") != learnt:
        _tell(f"learning a tokenizer of {_number(profile, 'vocabulary')} tokens")
        texts = _head(train, _number(profile, "tokenizer_bytes"))
        (folder / MODEL).write_bytes(pieces.learn(texts, _number(profile, "vocabulary")))
        made = {"model": learnt, "shards": {}}
        _note(folder, made)
    model = pieces.opened(folder / MODEL)
    for path in train:
        target = folder / f"{path.stem}.bin"
        if made["shards"].get(path.name) == _signature(path) and target.is_file():
            continue
        _tell(f"writing {path.name} in tokens")
        beside = target.with_suffix(".new")
        shelf.write_shard(beside, _tokens_of(path, model))
        beside.replace(target)
        made["shards"][path.name] = _signature(path)
        _note(folder, made)
    spelling = pieces.spelling_of(folder / MODEL)
    targets = [folder / f"{path.stem}.bin" for path in train]
    shelf.index(targets, spelling.boundary, len(spelling.vocabulary), folder, tell=_tell)


def _tokens_of(path: Path, model: Any) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    """All documents of a file, the boundary in front of each."""
    threads = os.cpu_count() or 1
    found: list[np.ndarray[tuple[int], np.dtype[np.uint16]]] = []
    for texts in documents(path):
        spelt = model.encode(texts, add_bos=True, num_threads=threads)
        found += [np.array(tokens, dtype=np.uint16) for tokens in spelt]
    if not found:
        raise DataError(f"{path} has no text, expected {SHAPE}")
    return np.concatenate(found)


def _head(train: Sequence[Path], most: int) -> Iterator[str]:
    """The first texts, about ``most`` bytes in all."""
    left = most
    for path in train:
        for texts in documents(path):
            for text in texts:
                if left <= 0:
                    return
                left -= len(text)
                yield text


def _shelf(train: Sequence[Path], profile: Profile) -> shelf.Shelf:
    """The shards of tokens. Raises DataError for one that is not written yet, or was written from another file."""
    folder, command = kept_in(), PREPARE.format(profile.name)
    made = _made(folder)
    if made.get("model") != _learnt_from(train, profile):
        raise DataError(f"{folder} has no tokens of these files: run {command}")
    late = [path for path in train if made["shards"].get(path.name) != _signature(path)]
    if late:
        raise DataError(f"{late[0]} is not written in tokens yet, or has changed since: run {command}")
    spelling = pieces.spelling_of(folder / MODEL)
    shards = shelf.shards_of([folder / f"{path.stem}.bin" for path in train], folder, command)
    return shelf.Shelf(shards, spelling.vocabulary, spelling.boundary, spelling.strip)


def _learnt_from(train: Sequence[Path], profile: Profile) -> list[object]:
    """What the tokenizer follows from: sizes, and the first file, in which the learning begins."""
    return [_number(profile, "vocabulary"), _number(profile, "tokenizer_bytes"), *_signature(train[0])]


def _made(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / MADE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _note(folder: Path, made: Mapping[str, Any]) -> None:
    beside = folder / f"{MADE}.new"
    beside.write_text(json.dumps(made, indent=1), encoding="utf-8")
    beside.replace(folder / MADE)


def _signature(path: Path) -> list[object]:
    seen = path.stat()
    return [str(path), seen.st_size, seen.st_mtime_ns]


def _told(part: ClimbMix, split: str, items: int) -> dict[str, object]:
    questions = part.bundle.questions(split, items)
    counted: dict[str, int] = {}
    for question in questions:
        counted[question.task] = counted.get(question.task, 0) + 1
    return {
        "questions": counted,
        "questions_sha256": bundle.sha256_of(questions),
        "texts": len(part.texts),
        "bytes": sum(map(len, part.texts)),
        "texts_sha256": part.sha256(),
    }


def _number(profile: Profile, name: str) -> int:
    return int(str(profile.settings[name]))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
