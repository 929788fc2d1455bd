"""Images of the profiles ``cpu`` and ``smoke``: a balanced part of Fashion-MNIST at 14 x 14, shipped beside this file.

Source: the files of Debian's package dataset-fashion-mnist 0.0~git20200523.55506a9-1 (SHA-256 39e172fe32dd318e...),
copyright 2017 Zalando SE, MIT licence; its text and how the file was made: DATA.md in this folder. No pickle is read.
"""

from __future__ import annotations

import functools
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluators.harness.speed import Labelled

FILE = Path(__file__).resolve().parent / "fashion_mnist_14x14.xz"
CLASSES, SIDE = 10, 14
SIZES = {"train": 12_000, "validation": 4_000, "sealed": 4_000}
SPLITS = tuple(SIZES)
PIXELS = SIDE * SIDE

#: Hash of each split's labels followed by its pixels.
EXPECTED = {
    "train": "b73073f6de8983f8dbae3886239b54cadd765dc14bed0a79c63d898d665e9b92",
    "validation": "408066f6d4772653a65655597012bd1d704cb151d0d8dc2ac7b60443d6304134",
    "sealed": "ab12d54a8ce06606c1af216085f6b4a0c2b1d287cf8d918dc23a15843c2713b4",
}


class DataError(ValueError):
    """Images that are missing or changed; says where they were looked for and what was expected."""


@dataclass(frozen=True)
class Corpus:
    """Images and labels by split, and the hash of each."""

    parts: Mapping[str, Labelled]
    sha256: Mapping[str, str]

    def part(self, split: str, count: int | None = None) -> Labelled:
        """The first ``count`` images of a split, all by default. Raises LookupError for an unknown split."""
        if split not in self.parts:
            raise LookupError(f"split {split!r} is unknown, expected one of {', '.join(SPLITS)}")
        whole = self.parts[split]
        return Labelled(whole.images[:count], whole.labels[:count])

    def train_for(self, split: str, count: int) -> Labelled:
        """The first ``count`` images that are trained on, whichever split is predicted."""
        return self.part("train", count)


@functools.lru_cache(maxsize=1)
def load(path: Path = FILE) -> Corpus:
    """All splits. Raises DataError for a file that is missing, damaged or changed."""
    wanted = sum(SIZES.values()) * (1 + PIXELS)
    try:
        raw = lzma.decompress(path.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(raw) != wanted:
        raise DataError(f"{path} holds {len(raw)} bytes, expected {wanted}")
    parts, at = {}, 0
    for split, count in SIZES.items():
        body = raw[at : at + count * (1 + PIXELS)]
        at += len(body)
        found = sha256(body).hexdigest()
        if found != EXPECTED[split]:
            raise DataError(f"the {split} images of {path} have changed: {found}, expected {EXPECTED[split]}")
        parts[split] = _labelled(np.frombuffer(body, np.uint8), count)
    return Corpus(parts, dict(EXPECTED))


def _labelled(body: npt.NDArray[np.uint8], count: int) -> Labelled:
    return Labelled(body[count:].reshape(count, SIDE, SIDE, 1), body[:count].astype(np.int64))


def describe(part: Labelled) -> dict[str, object]:
    """Shape, and how many images each class has."""
    return {"shape": list(part.images.shape), "per_class": np.bincount(part.labels, minlength=CLASSES).tolist()}


def shared(corpus: Corpus, split: str) -> int:
    """How many images of a held-out split also stand, pixel for pixel, in the training split."""
    known = {image.tobytes() for image in corpus.parts["train"].images}
    return sum(image.tobytes() in known for image in corpus.parts[split].images)
