"""Child side of the speed protocol: one cold process trains on labelled images, then predicts unlabelled ones.

The evaluator's clock starts when it sends the sources and stops when the whole process tree is gone, so nothing here
is timed. The images to predict are sent only after TRAINED; their labels never come.
"""

from __future__ import annotations

import importlib
import os
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import frames
import numpy as np
import numpy.typing as npt
import pace
from frames import Kind
from recipe_process import FOLDER, Budget, Failed, failure, import_recipe, settle

SHAPE = struct.Struct("<4I")
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Context:
    """All that is handed to a recipe. images: uint8 (N, H, W, C); labels: int64 (N,)."""

    seed: int
    device: str
    threads: int
    budget: Budget
    images: Images
    labels: npt.NDArray[np.int64]


def unpack_images(payload: bytes) -> Images:
    """An IMAGES frame: four u32 of shape (N, H, W, C), then the pixels. A copy that may be written."""
    shape = SHAPE.unpack_from(payload)
    return np.frombuffer(payload, np.uint8, offset=SHAPE.size).reshape(shape).copy()


def pack_predictions(value: object, rows: int, classes: int) -> bytes:
    """A PREDICTIONS frame. Raises Failed for anything but floats of shape (rows, classes)."""
    array = np.asarray(value)
    if array.shape != (rows, classes) or array.dtype.kind != "f":
        found = f"{array.dtype} of shape {array.shape}"
        raise Failed(f"predict() returned {found}, expected float32 of shape {(rows, classes)}")
    return struct.pack("<2I", rows, classes) + np.ascontiguousarray(array, dtype="<f4").tobytes()


#: Milliseconds by the clock of the measurement: what this process has used, or what has passed.
CLOCKS: Mapping[str, Callable[[], int]] = {
    "cpu": lambda: time.process_time_ns() // 1_000_000,
    "wall": lambda: time.monotonic_ns() // 1_000_000,
}


def serve(settings: Mapping[str, Any], incoming: int, outgoing: int) -> None:
    """Say READY, then train and predict once; or, for the reference beside a recipe, work until the pipe is closed."""
    importlib.import_module("torch._dynamo")  # optimisers pull it in; its second belongs to the start
    seed, threads = int(settings["seed"]), int(settings["threads"])
    settle(seed, threads)
    folder, now = Path.cwd() / FOLDER, CLOCKS[settings["clock"]]
    stage = "import"
    frames.write_frame(outgoing, Kind.READY)
    try:
        packed = frames.read_frame(incoming, Kind.SOURCE)
        began = now()
        recipe = import_recipe(folder, packed)
        stage = "train"
        images = unpack_images(frames.read_frame(incoming, Kind.IMAGES))
        labels = np.frombuffer(frames.read_frame(incoming, Kind.LABELS), "<i8").copy()
        budget = Budget(int(settings["units"]), float(settings["seconds"]), lambda: now() - began)
        context = Context(seed, str(settings["device"]), threads, budget, images, labels)
        if settings["beside"]:
            return pace.keep(recipe.begin(context), incoming, outgoing)
        model = recipe.train(context)
        frames.write_frame(outgoing, Kind.TRAINED)
        stage = "predict"
        unlabelled = unpack_images(frames.read_frame(incoming, Kind.IMAGES))
        answer = recipe.predict(model, unlabelled)
        packed = pack_predictions(answer, len(unlabelled), int(settings["classes"]))
        frames.write_frame(outgoing, Kind.PREDICTIONS, packed)
    except BaseException as error:  # whatever a recipe raises, SystemExit included, is a result
        frames.write_frame(outgoing, Kind.FAILED, failure(stage, error, folder))
        os._exit(0)
