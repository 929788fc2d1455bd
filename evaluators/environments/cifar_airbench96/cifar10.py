"""CIFAR-10 for the full-size profiles, from a folder that the operator names by CIFAR_DIR.

Source: Krizhevsky 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>, in either of the two forms that are distributed
there: ``cifar-10-batches-bin/`` and ``cifar-10-batches-py/``. Of pickles only numbers are taken: nothing that a pickle
names is imported or called.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluators.environments.cifar_airbench96.data import DataError
from evaluators.harness.speed import Labelled

FOLDER = "CIFAR_DIR"
CLASSES, SIDE, CHANNELS = 10, 32, 3
PIXELS = CHANNELS * SIDE * SIDE
RECORD = 1 + PIXELS
IMAGES_PER_FILE = 10_000
TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
FILES = (*TRAINING, "test_batch")

#: Split -> the file that is predicted; all others are trained on.
HELD_OUT = {"validation": "test_batch", "sealed": "data_batch_5"}

#: The largest file that is read; a pickle also holds names.
LARGEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Batch:
    """One file. labels: uint8 (N,). planes: uint8 (N, 3072), red, green, blue, each row by row."""

    labels: npt.NDArray[np.uint8]
    planes: npt.NDArray[np.uint8]

    def sha256(self) -> str:
        """Hash of labels and pixels, the same for either form of the file."""
        return sha256(self.labels.tobytes() + self.planes.tobytes()).hexdigest()


@dataclass(frozen=True)
class Layout:
    """One of the two forms. read: a file's bytes and the number of its images -> its Batch, or DataError."""

    folder: str
    suffix: str
    expected: str
    read: Callable[[bytes, int], Batch]


@dataclass(frozen=True)
class Cifar10:
    """All six files by name, and the hash of each one's labels and pixels."""

    folder: Path
    batches: Mapping[str, Batch]
    sha256: Mapping[str, str]

    def train_for(self, split: str, count: int) -> Labelled:
        """The first ``count`` images that are trained on when ``split`` is predicted. LookupError: unknown split."""
        held_out = _held_out(split)
        return _labelled([self.batches[name] for name in FILES if name != held_out], count)

    def part(self, split: str, count: int) -> Labelled:
        """The first ``count`` images of a held-out split. Raises LookupError for an unknown one."""
        return _labelled([self.batches[_held_out(split)]], count)


def _held_out(split: str) -> str:
    if split not in HELD_OUT:
        raise LookupError(f"split {split!r} is unknown, expected one of {', '.join(HELD_OUT)}")
    return HELD_OUT[split]


def _labelled(batches: list[Batch], count: int) -> Labelled:
    """Planes -> pixels (N, 32, 32, 3)."""
    planes = np.concatenate([batch.planes for batch in batches])[:count]
    labels = np.concatenate([batch.labels for batch in batches])[:count]
    pixels = planes.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Labelled(np.ascontiguousarray(pixels), labels.astype(np.int64))


def _from_records(raw: bytes, images: int) -> Batch:
    """Records of one byte of label and 3,072 of pixels."""
    if len(raw) != images * RECORD:
        raise DataError(
            f"{len(raw):,} bytes, expected {images * RECORD:,} ({images:,} records of 1 + {PIXELS:,} bytes)"
        )
    records = np.frombuffer(raw, np.uint8).reshape(images, RECORD)
    return _checked(records[:, 0], records[:, 1:], images)


def _checked(labels: npt.NDArray[np.uint8], planes: npt.NDArray[np.uint8], images: int) -> Batch:
    if planes.shape != (images, PIXELS) or labels.shape != (images,):
        found = f"pixels of shape {planes.shape} and {labels.size:,} labels"
        raise DataError(f"{found}, expected {(images, PIXELS)} and {images:,}")
    if labels.max() >= CLASSES:
        raise DataError(f"a label of {labels.max()}, expected 0 to {CLASSES - 1}")
    return Batch(labels, planes)


class _Told:
    """Stands in for whatever numpy object a pickle asks for: keeps what it is told and does nothing with it."""

    def __init__(self, *said: object) -> None:
        self.said: tuple[object, ...] = said
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Numbers(pickle.Unpickler):
    """Reads plain values, and arrays as what was said about them."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> type[_Told]:
        """Raises UnpicklingError for anything but an array's parts."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, allowed are numpy arrays only")
        return _Told


def _from_pickle(raw: bytes, images: int) -> Batch:
    """A dict with ``data``, uint8 (N, 3072), and ``labels``, N numbers; written by Python 2 or 3."""
    try:
        said = _Numbers(io.BytesIO(raw), encoding="bytes").load()
        told = {key.decode() if isinstance(key, bytes) else key: value for key, value in dict(said).items()}
        planes, labels = _array(told["data"]), np.array(told["labels"])
    except Exception as error:  # a damaged pickle fails in whatever way its bytes happen to spell
        raise DataError(f"no pickle of CIFAR-10: {type(error).__name__}: {error}") from error
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(f"labels that are not numbers from 0 to {CLASSES - 1}")
    return _checked(labels.astype(np.uint8), planes, images)


def _array(told: object) -> npt.NDArray[np.uint8]:
    """What a pickle said of an array -> the array. Raises ValueError and TypeError for anything but bytes of uint8."""
    if not isinstance(told, _Told) or not isinstance(told.state, tuple):
        raise ValueError("its data is no numpy array")
    _version, shape, kind, fortran, body = told.state
    name = kind.said[0] if isinstance(kind, _Told) and kind.said else None
    if name not in ("u1", b"u1") or not isinstance(body, bytes):
        raise ValueError(f"its data is an array of {name!r}, expected 'u1'")
    return np.frombuffer(body, np.uint8).reshape(shape, order="F" if fortran else "C")


LAYOUTS = (
    Layout(
        "cifar-10-batches-bin",
        ".bin",
        f"each of {IMAGES_PER_FILE:,} records: 1 byte of label (0 to 9), then {PIXELS:,} of pixels (32 x 32 red, then "
        f"green, then blue), {IMAGES_PER_FILE * RECORD:,} bytes",
        _from_records,
    ),
    Layout(
        "cifar-10-batches-py",
        "",
        f"each a Python pickle of a dict: b'data' uint8 ({IMAGES_PER_FILE}, {PIXELS}), b'labels' a list of "
        f"{IMAGES_PER_FILE:,} numbers (0 to 9), about 31,000,000 bytes",
        _from_pickle,
    ),
)


def expected() -> list[str]:
    """What is looked for: one line for each form."""
    return [
        f"{layout.folder}/: {', '.join(name + layout.suffix for name in FILES)}; {layout.expected}"
        for layout in LAYOUTS
    ]


def looked_for() -> str:
    """Where the files are looked for."""
    named = os.environ.get(FOLDER, "")
    if not named:
        return f"the folder that the environment variable {FOLDER} names (it is not set)"
    return " or ".join(str(Path(named) / layout.folder) for layout in LAYOUTS)


def load(images: int = IMAGES_PER_FILE) -> Cifar10:
    """All six files, ``images`` in each. Raises DataError with every fault that was found."""
    found, faults = check(images)
    if found is None:
        raise DataError("CIFAR-10: " + "; ".join(faults))
    return found


def check(images: int = IMAGES_PER_FILE) -> tuple[Cifar10 | None, list[str]]:
    """The files and no fault, or no files and each fault: which file, what it is, what was expected."""
    named = os.environ.get(FOLDER, "")
    if not named:
        return None, [f"{FOLDER} is not set, expected a folder with {_either()}"]
    root = Path(named)
    if not root.is_dir():
        return None, [f"{FOLDER}={named} is not a folder, expected one with {_either()}"]
    faults: list[str] = []
    for layout in LAYOUTS:
        folder = root / layout.folder
        if not folder.is_dir():
            continue
        batches, wrong = _read(layout, folder, images)
        if not wrong:
            return Cifar10(folder, batches, {name: batch.sha256() for name, batch in batches.items()}), []
        faults += wrong
    return None, faults or [f"{root} holds neither {_either('nor')}"]


def _either(word: str = "or") -> str:
    return f" {word} ".join(f"{layout.folder}/" for layout in LAYOUTS)


def describe(batch: Batch) -> dict[str, object]:
    """How many images, and how many of each class."""
    return {"images": len(batch.labels), "per_class": np.bincount(batch.labels, minlength=CLASSES).tolist()}


def shared(images: Cifar10, split: str) -> int:
    """How many images of a held-out split also stand, pixel for pixel, among those that are trained on for it."""
    held_out = _held_out(split)
    known = {planes.tobytes() for name in FILES if name != held_out for planes in images.batches[name].planes}
    return sum(planes.tobytes() in known for planes in images.batches[held_out].planes)


def _read(layout: Layout, folder: Path, images: int) -> tuple[dict[str, Batch], list[str]]:
    """The files of one form, and what is wrong with each that is not as expected."""
    batches: dict[str, Batch] = {}
    wrong: list[str] = []
    for name in FILES:
        path = folder / (name + layout.suffix)
        try:
            if path.stat().st_size > LARGEST_BYTES:
                raise DataError(f"{path.stat().st_size:,} bytes, at most {LARGEST_BYTES:,} are read")
            batches[name] = layout.read(path.read_bytes(), images)
        except FileNotFoundError:
            wrong.append(f"{path} is missing")
        except (OSError, DataError) as error:
            wrong.append(f"{path}: {error}")
    return batches, wrong
