"""Inside of a script's sandbox: write its files, then become its command. Standard library only.

Both pipes of the protocol close with that, so the script can send no frame; its exit status is told by the keeper.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import confine
import frames
from frames import Kind


def main() -> None:
    """Ends as the command, or with a FAILED frame when it cannot be started. Raises RuntimeError without walls."""
    confine.confine()
    incoming, outgoing = os.dup(0), os.dup(1)
    settings = json.loads(frames.read_frame(incoming, Kind.SETTINGS))
    frames.write_frame(outgoing, Kind.READY)
    folder = Path.cwd() / "script"
    for name, body in frames.unpack_files(frames.read_frame(incoming, Kind.SOURCE)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    os.chdir(folder)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(2, 1)
    command = settings["command"]
    try:
        os.execve(command[0], command, {**os.environ, "PYTHONPATH": settings["search"], **settings["env"]})  # noqa: S606
    except OSError as error:
        frames.write_frame(outgoing, Kind.FAILED, str(error).encode())


main()
