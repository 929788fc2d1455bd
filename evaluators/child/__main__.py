"""Runner of one sandboxed process: takes settings from the pipe and serves the protocol that they name.

Runs behind the walls of confine.py. Standard output is the recipe's log; the protocol has a descriptor of its own.
Standard library, numpy and torch only.
"""

from __future__ import annotations

import json
import os

import confine
import frames
import language_model
import speed
import yardstick

PROTOCOLS = {"language_model": language_model.serve, "speed": speed.serve, "yardstick": yardstick.serve}


def take_descriptors() -> tuple[int, int]:
    """Frames in and protocol out on private descriptors; 0 becomes empty and 1 joins the log."""
    incoming, outgoing = os.dup(0), os.dup(1)
    empty = os.open("/dev/null", os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return incoming, outgoing


def main() -> None:
    """Serve until the evaluator closes the pipe. Raises RuntimeError when there are no walls."""
    confine.confine()
    incoming, outgoing = take_descriptors()
    settings = json.loads(frames.read_frame(incoming, frames.Kind.SETTINGS))
    PROTOCOLS[settings["protocol"]](settings, incoming, outgoing)
    os._exit(0)  # nothing that the recipe left behind (threads, exit hooks) gets a turn


main()
