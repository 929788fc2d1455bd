"""The CIFAR-10 folder of the full-size profiles: both forms are read alike, and each fault is told."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from evaluators.environments.cifar_airbench96 import cifar10
from evaluators.environments.cifar_airbench96.data import DataError
from tests.evaluators.cifar10_files import batch, python2_pickle, write_pickles, write_records

IMAGES = 30


@pytest.fixture(params=[write_records, write_pickles])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole folder in one of the forms, which CIFAR_DIR leads to."""
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path))
    made: Path = request.param(tmp_path, IMAGES)
    return made


def test_both_forms_give_the_same_images(folder: Path) -> None:
    found = cifar10.load(IMAGES)
    assert found.folder == folder
    labels, planes = batch(5, IMAGES)
    part = found.part("validation", IMAGES)
    assert part.labels.tolist() == labels.tolist() and part.labels.dtype == np.int64
    assert part.images.shape == (IMAGES, 32, 32, 3) and part.images.dtype == np.uint8
    assert part.images[7, 2, 5].tolist() == [planes[7, channel * 1024 + 2 * 32 + 5] for channel in range(3)]
    assert found.sha256["test_batch"] == cifar10.Batch(labels, planes).sha256()


def test_no_image_is_trained_on_and_predicted_and_every_other_one_is_trained_on(folder: Path) -> None:
    found = cifar10.load(IMAGES)
    everything = {planes.tobytes() for index in range(6) for planes in found.batches[cifar10.FILES[index]].planes}
    for split in ("validation", "sealed"):
        train, held_out = found.train_for(split, 5 * IMAGES), found.part(split, IMAGES)
        assert len(train.labels) == 5 * IMAGES and len(held_out.labels) == IMAGES
        seen, asked = ({pixels(image) for image in part.images} for part in (train, held_out))
        assert not seen & asked and seen | asked == everything
    predicted = [{pixels(image) for image in found.part(split, IMAGES).images} for split in ("validation", "sealed")]
    assert not predicted[0] & predicted[1]
    assert len(found.train_for("sealed", 40).labels) == 40
    with pytest.raises(LookupError, match="expected one of validation, sealed"):
        found.part("train", 1)


def pixels(image: np.ndarray) -> bytes:
    """An image (32, 32, 3) as it stands in its file."""
    return bytes(image.transpose(2, 0, 1).tobytes())


def test_without_a_folder_it_is_said_what_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cifar10.FOLDER, raising=False)
    assert cifar10.check() == (
        None,
        ["CIFAR_DIR is not set, expected a folder with cifar-10-batches-bin/ or cifar-10-batches-py/"],
    )
    assert "CIFAR_DIR" in cifar10.looked_for()
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path / "away"))
    assert cifar10.check()[1][0].startswith(f"CIFAR_DIR={tmp_path}/away is not a folder")
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path))
    assert cifar10.check()[1] == [f"{tmp_path} holds neither cifar-10-batches-bin/ nor cifar-10-batches-py/"]


def test_every_fault_of_a_folder_of_records_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path))
    folder = write_records(tmp_path, IMAGES)
    (folder / "data_batch_2.bin").unlink()
    whole = (folder / "data_batch_3.bin").read_bytes()
    (folder / "data_batch_3.bin").write_bytes(whole[:-1])
    (folder / "test_batch.bin").write_bytes(b"\x0a" + whole[1:])
    found, faults = cifar10.check(IMAGES)
    assert found is None
    assert faults == [
        f"{folder}/data_batch_2.bin is missing",
        f"{folder}/data_batch_3.bin: 92,189 bytes, expected 92,190 (30 records of 1 + 3,072 bytes)",
        f"{folder}/test_batch.bin: a label of 10, expected 0 to 9",
    ]
    with pytest.raises(DataError, match=r"data_batch_2\.bin is missing; "):
        cifar10.load(IMAGES)
    write_pickles(tmp_path, IMAGES)
    assert cifar10.load(IMAGES).folder.name == "cifar-10-batches-py"


def test_a_pickle_that_asks_for_more_than_an_array_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path))
    folder = write_pickles(tmp_path, IMAGES)
    labels, planes = batch(0, IMAGES)
    touched = tmp_path / "touched"
    said = {
        "data_batch_1": b"cpathlib\nPath.touch\ncpathlib\nPath\n(V" + str(touched).encode() + b"\ntR\x85R.",
        "data_batch_2": b"cbuiltins\neval\n(V1+1\ntR.",
        "data_batch_3": python2_pickle(labels, planes[:, :-1]),
        "data_batch_4": python2_pickle(labels, planes)[:-40],
        "data_batch_5": python2_pickle(labels[:-1], planes),
        "test_batch": pickle.dumps({"data": "no array", "labels": [1]}),
    }
    for name, raw in said.items():
        (folder / name).write_bytes(raw)
    faults = cifar10.check(IMAGES)[1]
    assert [fault.partition(": ")[2] for fault in faults] == [
        "no pickle of CIFAR-10: UnpicklingError: it asks for pathlib.Path.touch, allowed are numpy arrays only",
        "no pickle of CIFAR-10: UnpicklingError: it asks for builtins.eval, allowed are numpy arrays only",
        "pixels of shape (30, 3071) and 30 labels, expected (30, 3072) and 30",
        "no pickle of CIFAR-10: UnpicklingError: pickle data was truncated",
        "pixels of shape (30, 3072) and 29 labels, expected (30, 3072) and 30",
        "no pickle of CIFAR-10: ValueError: its data is no numpy array",
    ]
    assert not touched.exists()


def test_pickles_written_by_python_3_are_read_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cifar10.FOLDER, str(tmp_path))
    folder = write_pickles(tmp_path, IMAGES)
    labels, planes = batch(0, IMAGES)
    for order in (planes, np.asfortranarray(planes)):
        (folder / "data_batch_1").write_bytes(pickle.dumps({"data": order, "labels": labels.tolist()}, protocol=4))
        assert np.array_equal(cifar10.load(IMAGES).batches["data_batch_1"].planes, planes)
