"""Inside of the sandbox: ``fit`` a table or ``predict`` rows. What is printed is log; frames have their own pipe."""

import importlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import confine
import frames
import numpy as np
from frames import Kind

confine.confine()
incoming, outgoing = os.dup(0), os.dup(1)
os.dup2(2, 1)
ctx = SimpleNamespace(**json.loads(frames.read_frame(incoming, Kind.SETTINGS)))
frames.write_frame(outgoing, Kind.READY)
stage = "import"
try:
    for name, body in frames.unpack_files(frames.read_frame(incoming, Kind.SOURCE)).items():
        Path(name).write_bytes(body)
    sys.path.insert(0, str(Path.cwd()))
    recipe = importlib.import_module("recipe")
    stage = ctx.phase
    if ctx.phase == "train":
        rows, targets = frames.unpack_texts(frames.read_frame(incoming, Kind.DOCUMENTS))
        ctx.rows, ctx.targets = np.frombuffer(rows, "<f4").reshape(-1, ctx.columns), np.frombuffer(targets, "<f4")
        frames.write_frame(outgoing, Kind.TRAINED, bytes(memoryview(recipe.fit(ctx))))
    else:
        artifact = frames.read_frame(incoming, Kind.ARTIFACT)
        frames.write_frame(outgoing, Kind.LOADED)
        asked = np.frombuffer(frames.read_frame(incoming, Kind.CHUNK), "<f4").reshape(-1, ctx.columns)
        frames.write_frame(outgoing, Kind.LOGITS, np.asarray(recipe.predict(artifact, asked, ctx), "<f4").tobytes())
except BaseException as error:  # whatever a recipe raises is a result
    said = {"stage": stage, "reason": f"{type(error).__name__}: {error}"[:600], "excerpt": repr(error)[:600]}
    frames.write_frame(outgoing, Kind.FAILED, json.dumps({**said, "contract": False}).encode())
