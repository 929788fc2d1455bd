"""Child side of the language-model protocol: ``train`` makes an artifact and spells text, ``predict`` scores tokens.

Whatever the recipe does ends as a frame: an answer, OVERRUN or FAILED. The evaluator trusts none of them for a score.
"""

from __future__ import annotations

import importlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import frames
import numpy as np
from frames import Kind
from library import Library
from meter import Meter, Uncounted
from recipe_process import FOLDER, Budget, Clock, Failed, failure, import_recipe, settle

MARKS = 50
#: Bytes of logits that a predictor without ``logits_from`` is asked for at once where only the end of rows is wanted.
WHOLE_BYTES = 256 << 20


@dataclass(frozen=True)
class Context:
    """All that is handed to a recipe."""

    seed: int
    device: str
    threads: int
    budget: Budget
    documents: Sequence[bytes]


class Session:
    """One process's pipe, meter and recipe."""

    def __init__(self, settings: Mapping[str, Any], incoming: int, outgoing: int) -> None:
        self.settings = settings
        self.incoming, self.outgoing = incoming, outgoing
        self.folder = Path.cwd() / FOLDER
        self.units: int | None = settings["units"]
        self.tolerance = float(settings["unit_tolerance"])
        self.before = int(settings["units_before"])
        self.aside = 0
        self.held: int | None = None
        self.meter = self.fresh_meter()

    def send(self, kind: Kind, payload: bytes | memoryview = b"") -> None:
        frames.write_frame(self.outgoing, kind, payload)

    def fresh_meter(self) -> Meter | Uncounted | Clock:
        """A meter for the phase that begins, where it has a budget of units; a clock where seconds are the budget."""
        if self.settings["wallclock"]:
            return Clock()
        return Uncounted() if self.units is None else Meter(self.units / MARKS, self.passed)

    def passed(self, units: int) -> float:
        """A mark of the budget: report, or end the process when the budget is overrun."""
        spent, budget = self.spent(units), float(self.units or 0)
        left = budget * (1 + self.tolerance) - spent
        if left < 0:
            self.send(Kind.OVERRUN, struct.pack("<Q", spent))
            os._exit(0)  # an exception could be caught
        self.tell_units()
        return units + min(budget / MARKS, left + 1)

    def spent(self, units: int) -> int:
        """Of the budget: all that was counted, less what was asked aside."""
        return self.before + (units if self.held is None else self.held) - self.aside

    @contextmanager
    def outside_the_budget(self) -> Iterator[None]:
        """What is asked now costs CPU seconds, which the evaluator hears of, and nothing of the budget."""
        self.held = began = self.meter.units
        yield
        self.held, self.aside = None, self.aside + self.meter.units - began

    def tell_units(self) -> None:
        self.send(Kind.PROGRESS, struct.pack("<Q", self.before + self.meter.units))

    def context(self, documents: Sequence[bytes]) -> Context:
        meter = self.meter
        budget = Budget(self.units, float(self.settings["seconds"]), lambda: self.spent(meter.units))
        return Context(
            int(self.settings["seed"]), str(self.settings["device"]), int(self.settings["threads"]), budget, documents
        )

    def import_recipe(self) -> ModuleType:
        """Write the sources to scratch and import recipe.py, on the meter."""
        return import_recipe(self.folder, frames.read_frame(self.incoming, Kind.SOURCE))

    def fail(self, stage: str, error: BaseException) -> None:
        """Tell the evaluator why the recipe ended, and end."""
        said = failure(stage, error, self.folder)
        self.tell_units()
        self.send(Kind.FAILED, said)
        os._exit(0)


def read_documents(incoming: int) -> Sequence[bytes]:
    """The training documents: packed, or a description of where they lie."""
    request = frames.next_frame(incoming)
    if request is not None and request[0] is Kind.LIBRARY:
        said, *vocabulary = frames.unpack_texts(request[1])
        return Library.from_json(said, vocabulary)
    if request is None or request[0] is not Kind.DOCUMENTS:
        raise frames.FrameError("expected the training documents")
    return frames.unpack_texts(request[1])


def require_bytes(value: object, what: str) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise Failed(f"{what} returned {type(value).__name__}, expected bytes")
    return bytes(value)


def pack_vocabulary(tokens: Sequence[object]) -> bytes:
    return frames.pack_texts([require_bytes(token, "vocabulary()") for token in tokens])


def pack_tokens(numbers: Sequence[int]) -> bytes:
    array = np.asarray(numbers)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise Failed(f"encode() returned {array.dtype} of shape {array.shape}, expected a list of integers")
    if array.size and (array.min() < 0 or array.max() >= 2**31):
        raise Failed("encode() returned a number that is no token")
    packed: bytes = array.astype("<i4").tobytes()
    return packed


def pack_logits(value: object) -> memoryview:
    array = np.asarray(value)
    if array.ndim != 3 or array.dtype.kind != "f":
        raise Failed(f"logits() returned {array.dtype} of shape {array.shape}, expected float32 (B, T, V)")
    packed = np.empty(3 + array.size, dtype="<f4")  # copied once: there may be gigabytes of them
    packed[:3].view("<u4")[:] = array.shape
    packed[3:].reshape(array.shape)[:] = array
    return packed.view("u1").data


def tail_of(predictor: Any, tokens: np.ndarray[Any, Any], first: int, vocabulary: int) -> object:
    """Logits (B, T - first, V) of tokens (B, T): from a predictor that can leave the rest out, or cut from all."""
    if callable(getattr(predictor, "logits_from", None)):
        return predictor.logits_from(tokens.copy(), first)
    rows, length = tokens.shape
    at_once = max(1, WHOLE_BYTES // (4 * length * max(1, vocabulary)))
    parts = [np.asarray(predictor.logits(tokens[at : at + at_once].copy())) for at in range(0, rows, at_once)]
    odd = next((part for part in parts if part.ndim != 3 or part.shape[1] != length), None)
    return odd if odd is not None else np.concatenate([part[:, first:] for part in parts])


def serve(settings: Mapping[str, Any], incoming: int, outgoing: int) -> None:
    """Serve one phase, ``train`` or ``predict``, until the evaluator closes the pipe."""
    session = Session(settings, incoming, outgoing)
    settle(int(settings["seed"]), int(settings["threads"]))
    if settings["phase"] == "train":
        importlib.import_module("torch._dynamo")  # optimisers pull it in; its second belongs to the start
    session.send(Kind.READY)
    (train if settings["phase"] == "train" else predict)(session)


def spell(session: Session, predictor: Any, packed: bytes) -> None:
    """Answer packed texts with the packed tokens of each."""
    tokens = [pack_tokens(predictor.encode(text)) for text in frames.unpack_texts(packed)]
    session.tell_units()
    session.send(Kind.TOKENS, frames.pack_texts(tokens))


def train(session: Session) -> None:
    """Import, train, hand the artifact over; then, on the meter of the evaluation, spell texts with it."""
    stage = "import"
    try:
        with session.meter:
            recipe = session.import_recipe()
            stage = "train"
            documents = read_documents(session.incoming)
            artifact = require_bytes(recipe.train(session.context(documents)), "train()")
        session.tell_units()
        session.send(Kind.TRAINED, artifact)
        stage = "load"
        session.units = session.settings["eval_units"]
        session.meter = session.fresh_meter()
        settle(int(session.settings["seed"]), int(session.settings["threads"]))
        frames.read_frame(session.incoming, Kind.LOAD)
        with session.meter:
            predictor = recipe.load(artifact, session.context([]))
            stage = "vocabulary"
            session.send(Kind.VOCABULARY, pack_vocabulary(predictor.vocabulary()))
            stage = "encode"
            while (request := frames.next_frame(session.incoming)) is not None:
                spell(session, predictor, request[1])
    except BaseException as error:  # whatever a recipe raises, SystemExit included, is a result
        session.fail(stage, error)


def predict(session: Session) -> None:
    """Load an artifact, then answer chunks with logits and adapt to each when asked to."""
    stage = "import"
    try:
        with session.meter:
            recipe = session.import_recipe()
            stage = "load"
            artifact = frames.read_frame(session.incoming, Kind.ARTIFACT)
            predictor = recipe.load(artifact, session.context([]))
            adapts = callable(getattr(predictor, "adapt", None))
            words = predictor.vocabulary()
            session.send(Kind.LOADED, bytes([adapts]) + pack_vocabulary(words))
            chunk = np.empty((0, 0), dtype=np.int32)
            while (request := frames.next_frame(session.incoming)) is not None:
                kind, payload = request
                stage = kind.name.lower()
                if kind in (Kind.CHUNK, Kind.ASIDE):
                    rows, length = struct.unpack_from("<2I", payload)
                    chunk = np.frombuffer(payload, dtype="<i4", offset=8).reshape(rows, length)
                    with session.outside_the_budget() if kind is Kind.ASIDE else nullcontext():
                        answer = pack_logits(predictor.logits(chunk.copy()))
                    session.tell_units()
                    session.send(Kind.LOGITS, answer)
                elif kind is Kind.TAIL:
                    rows, length, first = struct.unpack_from("<3I", payload)
                    chunk = np.frombuffer(payload, dtype="<i4", offset=12).reshape(rows, length)
                    answer = pack_logits(tail_of(predictor, chunk, first, len(words)))
                    session.tell_units()
                    session.send(Kind.LOGITS, answer)
                elif kind is Kind.ENCODE:
                    spell(session, predictor, payload)
                else:
                    predictor.adapt(chunk.copy())
                    session.tell_units()
                    session.send(Kind.ADAPTED)
    except BaseException as error:  # see train
        session.fail(stage, error)
