"""A host with accelerators, as far as the evaluator can see one: a program that prints what nvidia-smi prints."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from evaluators import devices
from evaluators.devices import Unavailable, hold

H200 = "NVIDIA H200, 143771, 570.86.15"
T4 = "Tesla T4, 15360, 570.86.15"


def lines(*cards: str) -> str:
    """What ``--query-gpu`` prints for cards, each a name, MiB and driver; UUIDs end with the card's number."""
    return "".join(f"{i}, {card}, GPU-5e1f9a3c-0000-4444-8888-00000000000{i}\n" for i, card in enumerate(cards))


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, printed: str, *, ends: int = 0, first: str = "") -> None:
    """Put an nvidia-smi in front of PATH, and the locks of its accelerators into the same folder."""
    (folder / "listing").write_text(printed)
    program = folder / "nvidia-smi"
    expected = "--query-gpu=index,name,memory.total,driver_version,uuid --format=csv,noheader,nounits"
    program.write_text(f"#!/bin/sh\n{first}\n[ \"$*\" = '{expected}' ] || exit 2\ncat {folder}/listing\nexit {ends}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv(devices.LOCKS, str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def _holder(count: int, pipe: Connection) -> None:
    """A worker with a DATA_DIR of its own that holds accelerators until it is told to stop, or killed."""
    os.environ["DATA_DIR"] = f"/nowhere/{os.getpid()}"
    try:
        with hold("cuda", count) as chosen:
            pipe.send([one.index for one in chosen])
            pipe.recv()
    except Unavailable as reason:
        pipe.send(str(reason))


def holder(count: int) -> tuple[Any, Connection]:
    """Another process that wants accelerators: it tells their indices, or why not, on the pipe."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_holder, args=(count, theirs), daemon=True)
    process.start()
    return process, ours
