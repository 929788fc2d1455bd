"""Small CIFAR-10 folders for tests, in both forms of distribution, byte for byte as their authors' tools wrote them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluators.environments.cifar_airbench96.cifar10 import FILES, PIXELS

Bytes = npt.NDArray[np.uint8]


def batch(index: int, images: int) -> tuple[Bytes, Bytes]:
    """Labels (N,) and planes (N, 3072) of a made-up file; each class has a colour of its own, so it can be learnt."""
    draw = np.random.default_rng(index)
    labels = np.arange(images, dtype=np.uint8) % 10
    colours = np.random.default_rng(99).integers(0, 200, (10, 3))[labels]
    planes = np.repeat(colours, PIXELS // 3, axis=1) + draw.integers(0, 56, (images, PIXELS))
    return labels, planes.astype(np.uint8)


def write_records(root: Path, images: int) -> Path:
    """``cifar-10-batches-bin/`` with so many images in each file; returns its folder."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for index, name in enumerate(FILES):
        labels, planes = batch(index, images)
        (folder / f"{name}.bin").write_bytes(np.column_stack([labels, planes]).tobytes())
    return folder


def write_pickles(root: Path, images: int) -> Path:
    """``cifar-10-batches-py/`` with so many images in each file; returns its folder."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for index, name in enumerate(FILES):
        (folder / name).write_bytes(python2_pickle(*batch(index, images)))
    return folder


def python2_pickle(labels: Bytes, planes: Bytes) -> bytes:
    """The dict as Python 2 pickled it (protocol 2): strings are bytes, arrays are rebuilt from parts."""
    numbers = b"".join(b"K" + bytes([label]) for label in labels.tolist())
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + (b"cnumpy\nndarray\n" + b"K\x00\x85" + _string(b"b") + b"\x87R")  # of no elements, until its state is set
        + (b"(K\x01" + _integer(len(planes)) + _integer(planes.shape[1]) + b"\x86")
        + (b"cnumpy\ndtype\n" + _string(b"u1") + b"K\x00K\x01\x87R")
        + (b"(K\x03" + _string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        + (b"\x89" + _string(planes.tobytes()) + b"tb")
    )
    pairs = _string(b"batch_label") + _string(b"a batch of a test") + _string(b"labels") + b"](" + numbers + b"e"
    return b"\x80\x02}(" + pairs + _string(b"data") + array + b"u."


def _string(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)
